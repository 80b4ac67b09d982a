"""In the browser: servers that start `sparks` processes and read folders."""

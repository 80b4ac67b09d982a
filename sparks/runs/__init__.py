"""One edit: from settings to a folder with everything that it gave."""

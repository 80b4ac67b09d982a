"""What finished edits are worth: metrics of any two videos, a judge, statistics, comparisons."""

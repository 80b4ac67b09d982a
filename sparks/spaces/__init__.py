"""Where solvers search: coordinates z that stand for controls."""

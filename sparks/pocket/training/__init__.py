"""How the bundled model is made: one module per stage, run in order by `sparks pocket train`."""

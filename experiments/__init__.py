"""The paper's tables and its Figure 1, one script each.

    python -m experiments.table2 --workdir runs/paper

docs/experiments.md lists the scripts, with the needs and the cost of each. A script names its runs
(`recipes.Experiment`) and the place of their figures in the table; the rest is shared:

    recipes    from a run of the paper to a config
    options    the command line
    study      running, resuming and reading runs
    grid       tables, with the paper's figures in columns of their own
    paper      those figures, as data
    smoke      the same at toy size

Two commands are no tables of the paper: `cpu_study`, a study on real images at the size of two CPU
cores, and `accelerator`, which measures a device and goes on with the runs of Table 2.
"""

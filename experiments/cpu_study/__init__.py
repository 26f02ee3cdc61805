"""A study on real images at the size of two CPU cores: five methods, three seeds, one benchmark.

    python -m experiments.cpu_study run --data DIR --workdir runs/cpu_study
    python -m experiments.cpu_study table
    python -m experiments.cpu_study run --list beyond --data DIR --workdir runs/cpu_study

docs/experiments.md says what it needs. The parts:

    setting    the runs and their settings
    beyond     variants of AugMax-DuBIN, and the four ways in which each is evaluated
    images     the training images, CIFAR-10-C made anew and its fifth, with their digests
    usage      how much wall and CPU time a run takes while it goes on
    record     the small JSON of a finished run
    timing     step times of the methods in turns, for a quiet machine
    tables     the tables, from the JSON files
    beyond_tables  the tables of the variants
    figures    the charts, from the JSON files
"""

"""What an accelerator gives: measures it, then goes on with the runs of Table 2.

    python -m experiments.accelerator --minutes 9 --out DIR [--data CIFAR10]

It needs JAX, flax, optax, orbax, ml-collections, tqdm, Jinja and Pillow, and neither TensorFlow,
tfds, clu nor matplotlib. It stops in time, keeps every figure as soon as it is measured, and goes
on where it stopped. The parts:

    session    the minutes, and the JSON file that keeps the figures
    device     the device, and its peak
    steps      training steps of our methods
    peer       PyTorch's steps, in a process of their own
    pixels     operators and corruptions against Pillow and NumPy on all cores
    runs       the run list of Table 2
    pieces     a folder as files of at most 16 MiB, and back
    tables     the figures as Markdown
"""

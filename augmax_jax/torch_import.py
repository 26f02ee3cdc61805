"""The command `python -m augmax_jax.torch_import`, and its functions under their first name."""

from augmax_jax.pytorch.importing import (
    build,
    from_state_dict,
    import_file,
    init_from,
    load_imported,
    main,
    save_imported,
)

__all__ = [
    "build",
    "from_state_dict",
    "import_file",
    "init_from",
    "load_imported",
    "main",
    "save_imported",
]

if __name__ == "__main__":
    main()

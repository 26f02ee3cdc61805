"""The command `python -m augmax_jax.torch_export`, and its functions under their first name."""

from augmax_jax.pytorch.exporting import main, to_state_dict, write_state_dict

__all__ = ["main", "to_state_dict", "write_state_dict"]

if __name__ == "__main__":
    main()

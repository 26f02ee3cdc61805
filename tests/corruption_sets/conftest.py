"""Images as the tests of the corruptions make them."""

from tests.corruptions.conftest import natural

__all__ = ["natural"]

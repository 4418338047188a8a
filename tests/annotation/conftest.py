"""The pool files of the tests of ``pairbench.pool``, for annotation rounds."""

from tests.pool.conftest import made_up as made_up, write as write

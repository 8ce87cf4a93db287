"""setuptools as the build backend, with the list of a source distribution's further files in this folder.

setuptools looks for ``MANIFEST.in`` at the repository's top alone, and no setting says otherwise.
"""

from setuptools.build_meta import *  # noqa: F403
from setuptools.command.egg_info import manifest_maker

manifest_maker.template = ".ci/MANIFEST.in"

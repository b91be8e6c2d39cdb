"""Write all files that are generated: model_facts.json, and the tables of two READMEs.

python -m zoo.catalogue
"""

from zoo.catalogue import model_facts, readmes
from zoo.core import files

files.write(model_facts.FILE, model_facts.generate().encode())
for path in readmes.FILES:
    files.write(path, readmes.generate(path).encode())

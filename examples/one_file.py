"""EPAMBackbone as a single file, to copy into your own project: it needs only torch, not this package."""

import ast
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from symtable import symtable

TRIAL = """
import sys
for name in ("epam_model", "epam_data", "numpy", "h5py", "yaml"):
    sys.modules[name] = None  # importing it now fails
import torch
from epam_backbone import EPAMBackbone
rgb, pose = EPAMBackbone().eval()(torch.rand(1, 3, 4, 64, 64), torch.rand(1, 17, 12, 16, 16))
print("with only torch:", tuple(rgb.shape), tuple(pose.shape))
"""


def collect(module: str, parts: dict[str, str]) -> None:
    """Add to `parts` the modules of `epam_model` that a module imports, then the module without these imports."""
    if module in parts:
        return
    source = Path(find_spec(module).origin).read_text(encoding="utf-8")
    tree, lines = ast.parse(source), source.splitlines()
    docstring, *statements = tree.body
    from_imports = [node for node in statements if isinstance(node, ast.ImportFrom)]
    ours = [node for node in from_imports if node.module.startswith("epam_model")]
    for node in ours:
        collect(node.module, parts)
    for node in (docstring, *ours, *(node for node in from_imports if node.module == "__future__")):
        lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    title = ast.get_docstring(tree).splitlines()[0]
    parts[module] = f"# {module}: {title}\n" + "\n".join(lines).strip("\n")


def shared_names(sources: list[str]) -> list[str]:
    """Names that more than one source defines: in a single file, the last definition would win."""
    symbols = [symbol for source in sources for symbol in symtable(source, "", "exec").get_symbols()]
    counts = Counter(each.get_name() for each in symbols if each.is_assigned() and not each.is_imported())
    return sorted(name for name, count in counts.items() if count > 1 and not name.startswith("__"))


parts: dict[str, str] = {}
collect("epam_model.networks.epam", parts)
if shared := shared_names(list(parts.values())):
    raise ValueError(f"modules of a single file must not define the same names, got {', '.join(shared)}")
out = Path("examples_out") / "epam_backbone.py"
out.parent.mkdir(exist_ok=True)
text = "from __future__ import annotations\n\n" + "\n\n\n".join(parts.values()) + "\n"
out.write_text(text, encoding="utf-8")
print(f"{out}: {len(parts)} modules, {len(text.splitlines())} lines", flush=True)
trial = subprocess.run([sys.executable, "-c", TRIAL], cwd=out.parent, check=True, capture_output=True, text=True)
print(trial.stdout.strip())

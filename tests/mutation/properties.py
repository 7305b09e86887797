"""Take `@property` from the methods of classes, in a copy of the tree: mutmut passes over what is decorated.

What stands there afterwards does the same, `name = property(_get_name)`.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path


def undecorated(source: str) -> str:
    """Return *source* with each property made by a call instead of a decorator."""
    lines = source.split("\n")
    found = [
        method
        for cls in ast.parse(source).body
        if isinstance(cls, ast.ClassDef)
        for method in cls.body
        if isinstance(method, ast.FunctionDef) and [ast.unparse(x) for x in method.decorator_list] == ["property"]
    ]
    for method in reversed(found):  # from the end: what stands before keeps its place
        first, last = method.lineno - 1, method.end_lineno or method.lineno
        lines[first] = lines[first].replace(f"def {method.name}(", f"def _get_{method.name}(", 1)
        lines.insert(last, f"    {method.name} = property(_get_{method.name})")
        del lines[method.decorator_list[0].lineno - 1]
    return "\n".join(lines)


if __name__ == "__main__":
    for file in Path(sys.argv[1]).glob("*.py"):
        file.write_text(undecorated(file.read_text()))

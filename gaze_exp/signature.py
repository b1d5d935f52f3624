"""Constructor signatures read from source, so that a config is checked without importing torch.

`import lightning` takes five seconds; a misspelt override should answer in less than one. So the file that
defines a `_target_` is found on the path and parsed, never run. Only what cannot be found this way (a name
made at run time) is imported.
"""

import ast
import difflib
import importlib.machinery
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gaze_exp.errors import ConfigError

RESERVED = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
SCALARS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "str": (str,),
    "Path": (str,),
    "None": (type(None),),
    "list": (list,),
    "tuple": (list,),
    "Sequence": (list,),
    "dict": (dict,),
    "Mapping": (dict,),
}


@dataclass(frozen=True)
class Signature:
    """What a class or function takes: parameter -> (annotation, required)."""

    parameters: dict[str, tuple[str | None, bool]]
    takes_anything: bool


def check_component(node: dict[str, Any], *, key: str) -> None:
    """Compare a config node with the constructor it names.

    Args:
        node: mapping with `_target_` and arguments.
        key: dotted key of the node.

    Raises:
        ConfigError: unknown target, unknown or missing argument, or a scalar of the wrong type.
    """
    target = str(node["_target_"])
    signature = _signature(target)
    if signature is None:
        raise ConfigError(
            f"{key}._target_: {target} cannot be found; a module path that Python can import from this folder "
            "is right (package.module.Class)"
        )
    given = {name: value for name, value in node.items() if name not in RESERVED}
    for name, value in given.items():
        if name in signature.parameters:
            _check_type(value, signature.parameters[name][0], key=f"{key}.{name}")
        elif not signature.takes_anything:
            near = difflib.get_close_matches(name, signature.parameters, n=1)
            right = near or [", ".join(signature.parameters) or "nothing"]
            raise ConfigError(f"{key}.{name}: {target} takes no such argument; {right[0]} would be right")
    missing = [n for n, (_, required) in signature.parameters.items() if required and n not in given]
    if missing and not node.get("_partial_"):
        raise ConfigError(f"{key}.{missing[0]}: {target} needs it; add it to the config or the command line")


def _check_type(value: Any, annotation: str | None, *, key: str) -> None:
    if annotation is None or isinstance(value, (dict, list)):
        return
    tree = ast.parse(annotation, mode="eval").body
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):  # a quoted annotation
        tree = ast.parse(tree.value, mode="eval").body
    choices, allowed = _allowed(tree)
    if choices is not None and value not in choices:
        near = difflib.get_close_matches(str(value), [str(c) for c in choices], n=1)
        raise ConfigError(f"{key}: {value!r} is no choice; {near[0] if near else ' or '.join(map(str, choices))} is")
    if choices is not None or allowed is None:
        return
    # bool is an int to Python, but max_epochs=true is a mistake.
    wrong_bool = isinstance(value, bool) and bool not in allowed
    if wrong_bool or not isinstance(value, allowed):
        raise ConfigError(f"{key}: {value!r} is {type(value).__name__}; {annotation} would be right")


def _allowed(tree: ast.expr) -> tuple[list[Any] | None, tuple[type, ...] | None]:
    """Literal choices and scalar types of an annotation; None where it says something we cannot judge."""
    if isinstance(tree, ast.Subscript):
        name = _last_name(tree.value)
        if name == "Literal":
            elements = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
            return [ast.literal_eval(e) for e in elements], None
        if name == "Optional":
            return None, _union([tree.slice], optional=True)
        if name == "Union":
            return None, _union(list(getattr(tree.slice, "elts", [tree.slice])), optional=False)
        return None, SCALARS.get(name)
    if isinstance(tree, ast.BinOp):
        return None, _union([tree.left, tree.right], optional=False)
    if isinstance(tree, ast.Constant) and tree.value is None:
        return None, (type(None),)
    return None, SCALARS.get(_last_name(tree))


def _union(members: list[ast.expr], *, optional: bool) -> tuple[type, ...] | None:
    types: tuple[type, ...] = (type(None),) if optional else ()
    for member in members:
        choices, allowed = _allowed(member)
        if choices is not None or allowed is None:
            return None
        types += allowed
    return types


def _last_name(tree: ast.expr) -> str:
    return tree.attr if isinstance(tree, ast.Attribute) else getattr(tree, "id", "")


@cache
def _signature(target: str) -> Signature | None:
    module, _, name = target.rpartition(".")
    try:
        found = _from_source(module, name)
    except (SyntaxError, RecursionError):
        found = None
    return found or _from_import(module, name)


def _from_source(module: str, name: str) -> Signature | None:
    path = _module_file(module)
    if path is None:
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            return _of_function(statement, is_method=False)
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return _of_class(statement, module)
    origins = [_imported_from(name, module, path, tree), *_starred(name, module, path, tree)]
    return next((found for origin in origins if origin and (found := _from_source(*origin))), None)


def _of_class(node: ast.ClassDef, module: str) -> Signature | None:
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            own = _of_function(statement, is_method=True)
            return _with_bases(own, node, module) if own.takes_anything else own
    if any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        fields = [s for s in node.body if isinstance(s, ast.AnnAssign)]
        names: dict[str, tuple[str | None, bool]] = {
            s.target.id: (ast.unparse(s.annotation), s.value is None) for s in fields if isinstance(s.target, ast.Name)
        }
        return Signature(names, takes_anything=False)
    if not node.bases:
        return Signature({}, takes_anything=False)
    return _of_base(node.bases[0], module)


def _with_bases(own: Signature, node: ast.ClassDef, module: str) -> Signature:
    """`**kwargs` of a subclass usually go to its base: take the base's names too, where they can be read."""
    base = _of_base(node.bases[0], module) if node.bases else None
    if base is None:
        return own
    return Signature({**base.parameters, **own.parameters}, takes_anything=base.takes_anything)


def _of_base(base: ast.expr, module: str) -> Signature | None:
    if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):  # nn.Module
        path = _module_file(module)
        origin = path and _imported_from(base.value.id, module, path, ast.parse(path.read_text(encoding="utf-8")))
        return _from_source(".".join(origin), base.attr) if origin else None
    return _from_source(module, base.id) if isinstance(base, ast.Name) else None


def _of_function(node: ast.FunctionDef, *, is_method: bool) -> Signature:
    positional = [*node.args.posonlyargs, *node.args.args][is_method:]
    required_up_to = len(positional) - len(node.args.defaults)
    pairs = [(arg, index < required_up_to) for index, arg in enumerate(positional)]
    pairs += [(a, d is None) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
    names = {a.arg: (ast.unparse(a.annotation) if a.annotation else None, required) for a, required in pairs}
    return Signature(names, takes_anything=node.args.kwarg is not None)


def _imported_from(name: str, module: str, path: Path, tree: ast.Module) -> tuple[str, str] | None:
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return _source_of(statement, module, path), alias.name
    return None


def _starred(name: str, module: str, path: Path, tree: ast.Module) -> list[tuple[str, str]]:
    """Where a name may come from by `from ... import *`."""
    starred = [s for s in tree.body if isinstance(s, ast.ImportFrom) and s.names[0].name == "*"]
    return [(_source_of(statement, module, path), name) for statement in starred]


def _source_of(statement: ast.ImportFrom, module: str, path: Path) -> str:
    """Full name of the module that a statement in `module` imports from."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    parents = package.split(".")[: len(package.split(".")) - max(statement.level - 1, 0)]
    prefix = ".".join(parents) + "." if statement.level else ""
    return (prefix + (statement.module or "")).rstrip(".")


def _module_file(module: str) -> Path | None:
    """Source file of a module, found without importing its parents."""
    locations: list[str] | None = None
    spec = None
    for end in range(1, len(module.split(".")) + 1):
        name = ".".join(module.split(".")[:end])
        spec = importlib.machinery.PathFinder.find_spec(name, locations or sys.path)
        if spec is None:
            return None
        locations = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _from_import(module: str, name: str) -> Signature | None:
    """The slow way, for what only exists at run time. An error inside the user's module is shown as it is."""
    import importlib
    import inspect

    try:
        made = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None
    parameters = inspect.signature(made).parameters
    return Signature(
        {
            n: (None, p.default is p.empty)
            for n, p in parameters.items()
            if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}
        },
        takes_anything=any(p.kind is p.VAR_KEYWORD for p in parameters.values()),
    )

"""Settings are YAML: profiles, ``--set`` and ``--jobs``, read without YAML 1.1's traps."""

import json
import re
from typing import ClassVar

import yaml


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain words, not 1.1's: 1e-4 is a number, 010 is 10; 12:30 and dates are text.

    yes, no, on and off, true in one version and text in the other, are refused; so is a key given
    twice.
    """

    yaml_implicit_resolvers: ClassVar[dict] = {}

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node, seen = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if (word := (key.tag, str(key.value))) in seen:
                raise yaml.MarkedYAMLError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add(word)
        return node

    def integer(self, node: yaml.ScalarNode) -> int:
        return int(node.value)

    def unclear(self, node: yaml.ScalarNode) -> None:
        problem = f"write true or false for {node.value}, or quote it"
        raise yaml.MarkedYAMLError(None, None, problem, node.start_mark)


for _kind, _words in {
    "null": "~|null|Null|NULL|",
    "bool": "true|True|TRUE|false|False|FALSE",
    "unclear": "(?i:yes|no|on|off)",
    "int": r"[-+]?\d[\d_]*",
    "float": r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "merge": "<<",
}.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"({_words})\Z"), [None]
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.integer)
_Loader.add_constructor("tag:yaml.org,2002:unclear", _Loader.unclear)


def read_yaml(text: str, where: str) -> object:
    """Read YAML as `_Loader` does: what JSON can hold. A ValueError says `where`, line and why."""
    try:
        value = yaml.load(text, _Loader)
        json.dumps(value, allow_nan=False)  # as notebooks keep it
        return value
    except yaml.YAMLError as error:
        mark, problem = (getattr(error, f"problem{end}", None) for end in ("_mark", ""))
        line = f", line {mark.line + 1}" if mark and "\n" in text else ""
        why = " ".join(str(problem or error).split())
        raise ValueError(f"{where}{line}: not YAML that settings can hold: {why}") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        why = f"not a value that JSON can hold ({error}); quote it"
        raise ValueError(f"{where}: {why}") from error

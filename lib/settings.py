"""Settings are YAML: profiles, ``--set`` and ``--jobs``, read without YAML 1.1's traps."""

import json
import re
from typing import ClassVar

import yaml


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict] = {}  # none of YAML 1.1's

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node, seen = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.MarkedYAMLError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add((key.tag, str(key.value)))
        return node

    def unclear(self, node: yaml.ScalarNode) -> None:
        problem = f"write true or false for {node.value}, or quote it"
        raise yaml.MarkedYAMLError(None, None, problem, node.start_mark)


for _tag, _words in {
    "null": "~|null|Null|NULL|",
    "bool": "true|True|TRUE|false|False|FALSE",
    "unclear": "(?i:yes|no|on|off)",
    "int": r"[-+]?\d[\d_]*",
    "float": r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "merge": "<<",
}.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"({_words})\Z"), [None])
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
_Loader.add_constructor("tag:yaml.org,2002:unclear", _Loader.unclear)


def read_yaml(text: str | bytes, where: str) -> object:
    """Read YAML, its plain words as in version 1.2; a ValueError says `where`, line and why.

    1e-4 is a number and 010 is 10; 12:30 and dates are text. Refused are yes, no, on and off (which
    are true in one version and text in the other), a key given twice, and what JSON can't hold.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = yaml.load(text, _Loader)
        json.dumps(value, allow_nan=False)  # as notebooks keep it
        return value
    except Exception as error:  # tags raise what they stumble over
        mark, why = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        where += f", line {mark.line + 1}" if mark and "\n" in text else ""
        why = " ".join(str(why).split())
        raise ValueError(f"{where}: not YAML that settings can hold: {why}") from error

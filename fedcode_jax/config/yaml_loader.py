"""PyYAML's safe loader, without its traps: 1e-3 a text, 010 eight, 1:30 ninety, repeated keys."""

import re
from typing import Any

import yaml

_DATE = "tag:yaml.org,2002:timestamp"


class Loader(yaml.SafeLoader):
    """Reads ``1e-3`` as a number, and refuses a mapping that names a key twice.

    ``010`` and ``1:30`` are texts, so that they are refused where a number is needed, and so is
    ``2026-11-28``.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node.

        Raises:
          yaml.constructor.ConstructorError: a key appears twice.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} appears twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


class Dumper(yaml.SafeDumper):
    """Writes what the loader reads: lists on one line, sections over several."""


Dumper.add_representer(
    list, lambda dumper, each: dumper.represent_sequence("tag:yaml.org,2002:seq", each, True)
)

# In YAML 1.1 a float needs a point, 010 is eight, 1:30 is ninety, 2026-11-28 is an object. People
# write 1e-3, and mean by the others what they see. What writes puts texts like numbers in quotes.
_OURS = {
    "tag:yaml.org,2002:int": r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)",
    "tag:yaml.org,2002:float": r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
for _kind in (Loader, Dumper):
    _kind.yaml_implicit_resolvers = {
        first: [(tag, rule) for tag, rule in rules if tag not in (*_OURS, _DATE)]
        for first, rules in _kind.yaml_implicit_resolvers.items()
    }
    for _tag, _rule in _OURS.items():
        _kind.add_implicit_resolver(_tag, re.compile(f"^({_rule})$"), list("-+.0123456789"))

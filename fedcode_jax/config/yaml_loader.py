"""PyYAML's safe loader, without its two traps: 1e-3 as a string, and repeated keys."""

import re
from typing import Any

import yaml


class Loader(yaml.SafeLoader):
    """Reads ``1e-3`` as a number and refuses a mapping that names a key twice."""

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

# YAML 1.1 asks for a point in every float; people write 1e-3. What writes puts such text in quotes.
for _kind in (Loader, Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )

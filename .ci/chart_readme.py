"""Writes the table of values in the chart's README from the comments in values.yaml, or says that it is not up to date.

A value's comment begins with `# --`. Every value has one. A section that has values of its own needs none."""

import json
import pathlib
import re
import sys

import yaml

CHART = pathlib.Path("helm/ticketd")
BEGIN, END = "<!-- values: made by .ci/chart_readme.py -->\n", "<!-- end of values -->\n"


def main() -> None:
    readme = CHART / "README.md"
    old = readme.read_text()
    new = with_table(old)
    if sys.argv[1:] == ["--write"]:
        readme.write_text(new)
    elif new != old:
        sys.exit("helm/ticketd/README.md is not up to date: python3 .ci/chart_readme.py --write")


def with_table(readme: str) -> str:
    head, rest = readme.split(BEGIN)
    _, tail = rest.split(END)
    return head + BEGIN + table() + END + tail


def table() -> str:
    text = (CHART / "values.yaml").read_text()
    comments, values = documented(text), yaml.safe_load(text)
    undocumented = [path for path in leaves(values, comments) if path not in comments]
    if undocumented:
        raise SystemExit(f"values.yaml does not say what these are: {', '.join(undocumented)}")
    rows = [f"| `{path}` | {default(value_at(values, path))} | {comment} |\n" for path, comment in comments.items()]
    return "\n| value | default | what it is |\n| --- | --- | --- |\n" + "".join(rows) + "\n"


def documented(text: str) -> dict[str, str]:
    """Each value with a comment, by its path, in the order of the file."""
    found, path, comment = {}, [], None
    for line in text.splitlines():
        if begin := re.match(r"\s*# -- (.*)", line):
            comment = [begin[1]]
        elif comment is not None and (more := re.match(r"\s*# (\S.*)", line)):
            comment.append(more[1])
        elif key := re.match(r"( *)([A-Za-z]+):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if comment is not None:
                found[".".join(path)] = " ".join(comment).replace("|", "\\|")
            comment = None
        else:
            comment = None
    return found


def leaves(values: dict, comments: dict[str, str], prefix: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        path = prefix + key
        if isinstance(value, dict) and value and path not in comments:
            found += leaves(value, comments, f"{path}.")
        else:
            found.append(path)
    return found


def value_at(values: dict, path: str) -> object:
    for key in path.split("."):
        values = values[key]
    return values


def default(value: object) -> str:
    """In YAML's short form; what is empty is left out."""
    if value in ("", [], {}):
        return ""
    if isinstance(value, (dict, list)):
        return f"`{json.dumps(value)}`".replace('"', "") if is_plain(value) else f"`{json.dumps(value)}`"
    return f"`{json.dumps(value) if isinstance(value, bool) else value}`"


def is_plain(value: object) -> bool:
    """Whether it needs no quotation marks."""
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(one) for key, one in value.items())
    if isinstance(value, list):
        return all(is_plain(one) for one in value)
    return not isinstance(value, str) or re.fullmatch(r"[A-Za-z][A-Za-z0-9./-]*|[0-9]+[A-Za-z]+", value) is not None


if __name__ == "__main__":
    main()

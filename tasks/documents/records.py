"""Which labelled rows does a file hold: JSON Lines and CSV, plain or gzipped, one dict a row."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from loopwright.errors import InputError

_FORMS = (".jsonl", ".csv")
_LONGEST_CELL = 1 << 24


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a .jsonl or .csv file (also .gz), UTF-8 with or without BOM, streaming.

    CSV values are strings, JSON values what the file says; blank lines are passed over.
    Raises `InputError` naming file, line and fix: at the call for the file itself, while reading
    for its rows.
    """
    form = _form(path)
    if path.is_dir():
        raise InputError(f"{path} 是目录 / is a directory", "给出一个文件 / name one file in it")
    if not path.is_file():
        raise InputError(
            f"找不到文件 / no such file: {path}",
            "检查路径和当前目录 / check the path and the working directory",
        )
    return _rows(path, form)


def _form(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    if suffixes and suffixes[-1] in _FORMS:
        return suffixes[-1]
    raise InputError(
        f"{path.name}: 不认识的文件类型 / unknown kind of file",
        "使用 .jsonl 或 .csv（可加 .gz）/ use .jsonl or .csv, optionally .gz",
    )


def _rows(path: Path, form: str) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            lines = _Lines(path, file)
            yield from _csv(lines) if form == ".csv" else _jsonl(lines)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: gzip 已损坏 / damaged gzip: {error}",
            "重新取得文件 / get the file again",
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: 无法读取 / cannot be read: {error.strerror}", "检查权限 / check permissions"
        ) from error


class _Lines:
    """The lines of a file as text, knowing where they are."""

    def __init__(self, path: Path, raw: Iterable[bytes]) -> None:
        self.path = path
        self.line = 0
        self._raw = raw

    def __iter__(self) -> Iterator[str]:
        for raw in self._raw:
            self.line += 1
            if self.line == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self.wrong(
                    "不是 UTF-8 / is not UTF-8",
                    "转换为 UTF-8，例如 / convert it: iconv -f GB18030 -t UTF-8",
                ) from error

    def wrong(self, what: str, fix: str) -> InputError:
        return InputError(f"{self.path}:{self.line}: {what}", fix)


def _jsonl(lines: _Lines) -> Iterator[dict[str, Any]]:
    for line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise lines.wrong(
                f"不是 JSON / is not JSON: {error}", "每行一个 JSON 对象 / one JSON object a line"
            ) from error
        if not isinstance(record, dict):
            raise lines.wrong(
                "不是 JSON 对象 / is not a JSON object",
                '例如 / such as {"text": "…", "label": "…"}',
            )
        yield record


def _csv(lines: _Lines) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(lines, strict=True)
    try:
        names = next(reader, None)
        if names is None:
            return
        if len(set(names)) < len(names):
            raise lines.wrong("表头有重复列名 / a column name occurs twice", "改名 / rename one")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(names):
                raise lines.wrong(
                    f"{len(cells)} 列，表头 {len(names)} 列 / cells, but {len(names)} columns",
                    "含逗号的内容加引号 / quote cells that hold commas",
                )
            yield dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise lines.wrong(
            f"CSV 有误 / broken CSV: {error}", "检查引号 / check the quotes"
        ) from error

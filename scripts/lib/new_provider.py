"""Writes the skeleton of a provider; see scripts/new-provider."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "scripts/lib/new-provider"
PROVIDERS = ROOT / "src/modules/providers"
KINDS = {
    "carrier": {
        "KIND": "Carrier",
        "DETAIL": "shipment",
        "DETAIL_TYPE": "Shipment",
        "PRICED_BY": 'PricedBy::RateCard(include_str!("rate-card.json"))',
    },
    "erp": {"KIND": "Erp", "DETAIL": "sale", "DETAIL_TYPE": "Sale", "PRICED_BY": "PricedBy::Nothing"},
    "registry": {
        "KIND": "Registry",
        "DETAIL": "extract",
        "DETAIL_TYPE": "Extract",
        "PRICED_BY": 'PricedBy::RateCard(include_str!("rate-card.json"))',
    },
}


# What is in its folder, and out of which template.
FILES = {
    "mod.rs": "mod.rs.in",
    "wire.rs": "wire.rs.in",
    "tests.rs": "tests.rs.in",
    "stand_in/mod.rs": "stand_in.rs.in",
    "cases.json": "cases.json.in",
}
# Rate cards that a new provider of the kind begins with.
CARDS = {"carrier": "parcelx-1.json", "registry": "rosreestr-1.json"}


def fail(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def fill(template, words, kind):
    """The template with its words; what stands between @IF_CANCEL@ and @END@ only where orders can be taken back, and what
    stands between @IF_FILES@ and @END@ only where they take their time and end with files."""
    text = (TEMPLATES / template).read_text()
    for condition, holds in (("CANCEL", kind == "carrier"), ("FILES", kind == "registry")):
        text = re.sub(rf"@IF_{condition}@(.*?)@END@", r"\1" if holds else "", text, flags=re.S)
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def insert(path, after, line):
    """Inserts a line after the last that matches."""
    text = path.read_text()
    matches = list(re.finditer(after, text, flags=re.M))
    if not matches:
        fail(f"{path.relative_to(ROOT)} has no line like {after}: add this by hand\n  {line}")
    end = matches[-1].end()
    path.write_text(text[:end] + line + text[end:])


def main(name, kind, title):
    if not re.fullmatch(r"[a-z][a-z0-9]{1,30}", name):
        fail(f"{name} is no name: lower case letters and digits, a letter first")
    if kind not in KINDS:
        fail(f"{kind} is no kind: one of {', '.join(KINDS)}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 .-]{0,40}", title):
        fail("the title must be letters, digits, blanks, dots and hyphens")
    folder = PROVIDERS / name
    if folder.exists():
        fail(f"{folder.relative_to(ROOT)} is there already")
    # As a type: the parts of the title, or of the name, each with a capital.
    parts = re.findall(r"[A-Za-z0-9]+", title)
    type_name = "".join(part[0].upper() + part[1:] for part in parts)
    type_name = type_name if type_name[0].isalpha() else name.capitalize()
    words = {"NAME": name, "TITLE": title, "TYPE": type_name, **KINDS[kind]}

    (folder / "stand_in").mkdir(parents=True)
    written = []
    for file, template in FILES.items():
        (folder / file).write_text(fill(template, words, kind))
        written.append(folder / file)
    if kind in CARDS:
        card = (ROOT / "data/rate-cards" / CARDS[kind]).read_text()
        (folder / "rate-card.json").write_text(re.sub(r'("provider":\s*)"[^"]*"', rf'\1"{name}"', card))
        written.append(folder / "rate-card.json")
    registry = PROVIDERS / "registry.rs"
    insert(registry, r"^(pub )?mod \w+;\n", f'#[path = "{name}/mod.rs"]\npub mod {name};\n')
    insert(registry, r"^    &\w+::DECLARATION,.*\n", f"    &{name}::DECLARATION,\n")
    rust = [str(path) for path in [*written, registry] if path.suffix == ".rs"]
    subprocess.run(["rustfmt", "--edition", "2024", *rust], cwd=ROOT, check=True)

    for path in written:
        print(path.relative_to(ROOT))
    print(
        f"""
and its line in {registry.relative_to(ROOT)}

Next:
1. the contract in {folder.relative_to(ROOT)}/tests.rs: cargo test --lib providers::registry::{name} says what is missing
2. the adapter (mod.rs, wire.rs), until these tests pass
3. the stand-in's contract and modes (stand_in/), and what they lead to (cases.json): scripts/test every_provider::
4. target/debug/waybill settings --write puts its settings and its row into the files that list them
5. scripts/test"""
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else sys.argv[1])

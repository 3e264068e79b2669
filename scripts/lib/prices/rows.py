"""The rows of src/core/catalog/prices.json.

A section is one provider's list. Each of its rows is one string of fields with `|` between them:

    NAME | PRICE | CONTEXT OUTPUT | RULES | MORE …

    PRICE    "input output cached write write-for-an-hour", USD per million tokens, `-` where unknown, the
             tail left out; then ` > TOKENS input output …` for each step: what prompts of more tokens pay
    CONTEXT  tokens that fit into input and output together; empty where unknown
    OUTPUT   most tokens that it writes; left out where unknown
    RULES    names that it is for, separated by spaces: `=` equal, `^` start, `$` end, `~` part; empty means `=NAME`
    MORE     "from DATE": since when PRICE holds, where there are several
             "DATE PRICE": the price from that day on, or "HH:MM-HH:MM PRICE": at that time of every day, in UTC;
             the last of them whose time has come holds
             "request USD": what a request costs beside its tokens
             "flex PRICE", "batch PRICE", "priority PRICE": the price in that service tier

As text it is two thirds of what it is as objects, which matters in a bundle.
"""

import decimal
import json

RATES = ("input", "output", "cached", "write", "write_1h")
TIERS = ("flex", "batch", "priority")


def plain(value):
    """A decimal without exponent, of at most six places; rounded up beyond them, so that nothing is too cheap."""
    rounded = value.quantize(decimal.Decimal("0.000001"), rounding=decimal.ROUND_CEILING)
    text = format(rounded, "f").rstrip("0").rstrip(".")
    return text or "0"


def price_text(rates, steps):
    """`rates` and each of `steps` are decimals by RATES, or None."""
    def one(rates):
        parts = ["-" if rates.get(r) is None else plain(rates[r]) for r in RATES]
        while parts[-1] == "-":
            parts.pop()
        return " ".join(parts)
    return " > ".join([one(rates)] + [f"{over} {one(rates)}" for over, rates in steps])


def price_read(text):
    """What `price_text` wrote: (rates, [(over, rates)]), in strings."""
    first, *rest = text.split(" > ")
    def one(words):
        return {r: w for r, w in zip(RATES, words) if w != "-"}
    return one(first.split(" ")), [(int(words[0]), one(words[1:])) for words in (r.split(" ") for r in rest)]


def match_text(model, rules):
    """Rules that differ only in case are one; the model's own name gives the case."""
    kept = {}
    for kind, text in rules:
        if " " in text or not text.isascii():
            continue
        low = text.lower()
        kept.setdefault((kind, low), model if low == model.lower() else text)
    out = " ".join(kind + text for (kind, _), text in kept.items())
    return None if out == f"={model}" else out


def rules_of(model, row):
    return [(rule[0], rule[1:]) for rule in row.get("match", f"={model}").split(" ")]


def rank(rule, name):
    """How close a rule is to a name, as in src/core/catalog; None if it is not for it."""
    kind, text = rule[0], rule[1].lower()
    name = name.lower()
    hit = {"=": name == text, "^": name.startswith(text), "$": name.endswith(text), "~": text in name}[kind]
    return (kind == "=", kind == "^", len(text)) if hit else None


def find(section, name):
    """The model of a section that a name is for."""
    best = None
    for model, row in section["models"].items():
        for rule in rules_of(model, row):
            r = rank(rule, name)
            if r is not None and (best is None or r >= best[0]):
                best = (r, model)
    return best and best[1]


def look_up(book, provider, name):
    """The row for a name, also through the sections that a provider falls back to."""
    for key in [provider, *book["providers"][provider].get("else", [])]:
        section = book["providers"][key]
        model = find(section, name)
        if model is not None:
            return section["models"][model]
    return None


def row_text(name, row):
    sizes = f"{row.get('context', '')} {row.get('output', '')}".rstrip()
    more = [f"from {row['from']}"] if "from" in row else []
    more += [f"{when} {price}" for when, price in row.get("then", [])]
    more += [f"request {row['request']}"] if "request" in row else []
    more += [f"{tier} {row[tier]}" for tier in TIERS if tier in row]
    fields = [name, row["price"], sizes, row.get("match", ""), *more]
    if any("|" in f for f in fields):
        raise SystemExit(f"a field of {name} holds a |")
    return "|".join(fields).rstrip("|")


def row_read(text):
    """What `row_text` wrote: (name, row)."""
    name, price, sizes, match, *more = text.split("|") + [""] * max(0, 3 - text.count("|"))
    row = {"price": price}
    context, _, output = sizes.partition(" ")
    if context:
        row["context"] = int(context)
    if output:
        row["output"] = int(output)
    if match:
        row["match"] = match
    for word, _, rest in (m.partition(" ") for m in more):
        if word in ("from", "request", *TIERS):
            row[word] = rest
        else:
            row.setdefault("then", []).append([word, rest])
    return name, row


def write(book):
    """One line for each model."""
    lines = []
    for name, section in sorted(book["providers"].items()):
        head = "".join(f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'))}," for k, v in sorted(section.items()) if k != "models")
        models = ",\n".join(json.dumps(row_text(m, r)) for m, r in sorted(section["models"].items()))
        lines.append(f"{json.dumps(name)}:{{{head}\"models\":[\n{models}]}}")
    top = "".join(f"{json.dumps(k)}:{json.dumps(v)}," for k, v in sorted(book.items()) if k != "providers")
    return "{" + top + '"providers":{\n' + ",\n".join(lines) + "}}\n"


def read(text):
    """What `write` wrote."""
    book = json.loads(text)
    for section in book["providers"].values():
        section["models"] = dict(row_read(row) for row in section["models"])
    return book

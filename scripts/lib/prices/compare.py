"""What changed since the committed file, and where the second source says something else."""

import decimal
import json
import pathlib

import rows

HERE = pathlib.Path(__file__).resolve().parent
USED = HERE / "used.json"
# Prices that differ by more than this part of the larger one are looked into by hand.
MOST = decimal.Decimal("0.2")


def used():
    """The most used models: what we call them, what the second source calls them; and the known disagreements."""
    return json.loads(USED.read_text())


def opinions(second):
    """What the second source says of the most used models: {model: [input, output]}."""
    out = {}
    for model, name in used()["models"].items():
        if name not in second:
            raise SystemExit(f"{USED.name}: the second source has no {name}")
        found = second[name]
        parts = [decimal.Decimal(str(found.get(f) or 0)) * 1_000_000 for f in ("input_cost_per_token", "output_cost_per_token")]
        out[model] = [rows.plain(p) for p in parts]
    return out


def differences(price, theirs):
    """Where a price and the second source's are more than MOST apart."""
    first, _ = rows.price_read(price)
    pairs = [(part, decimal.Decimal(first[part]), decimal.Decimal(other)) for part, other in zip(("input", "output"), theirs)]
    return [f"{part} {ours} beside {other}" for part, ours, other in pairs if abs(ours - other) > MOST * max(ours, other)]


def disagreements(book, second):
    """Lines of what is wrong: more than MOST apart and not expected, or expected and not so."""
    expected = {e["model"]: e["why"] for e in used()["exceptions"]}
    wrong = [f"{m}: it is an exception, and not in the list" for m in expected if m not in second]
    for model, theirs in second.items():
        provider, name = model.split("/", 1)
        row = rows.look_up(book, provider, name)
        if row is None:
            wrong.append(f"{model}: no price")
            continue
        # Of prices that depend on the time of day the second source tells one.
        apart = [differences(price, theirs) for price in [row["price"]] + [p for w, p in row.get("then", []) if ":" in w]]
        apart = [] if [] in apart else apart[0]
        if apart and model not in expected:
            wrong.append(f"{model}: {', '.join(apart)}")
        if not apart and model in expected:
            wrong.append(f"{model}: it agrees now; take it out of the exceptions")
    return wrong


def changes(before, after):
    """Lines of what is new, gone or different."""
    out = []
    for name in sorted({*before["providers"], *after["providers"]}):
        old, new = (b["providers"].get(name, {}).get("models", {}) for b in (before, after))
        for model in sorted({*old, *new}):
            if model not in new:
                out.append(f"- {name}/{model}  {old[model]['price']}")
            elif model not in old:
                out.append(f"+ {name}/{model}  {new[model]['price']}")
            elif old[model] != new[model]:
                fields = sorted(f for f in {*old[model], *new[model]} if old[model].get(f) != new[model].get(f))
                out.append(f"~ {name}/{model}  " + "; ".join(f"{f}: {old[model].get(f)} → {new[model].get(f)}" for f in fields))
    return out


def census(book, second, prefixes):
    """Of each section: how many models both sources know by the same name, how many of these agree on input and
    output to one per cent, and which are more than MOST apart."""
    out = []
    for name, section in sorted(book["providers"].items()):
        known, close, apart = 0, 0, []
        for model, row in section["models"].items() if prefixes.get(name) else ():
            found = next((second[p + model] for p in prefixes[name] if p + model in second), {})
            theirs = [found.get(f) for f in ("input_cost_per_token", "output_cost_per_token")]
            if not theirs[0]:
                continue
            known += 1
            first, _ = rows.price_read(row["price"])
            pairs = [(decimal.Decimal(first[p]), decimal.Decimal(str(t or 0)) * 1_000_000) for p, t in zip(("input", "output"), theirs)]
            gap = max(abs(a - b) / max(a, b, decimal.Decimal("1e-9")) for a, b in pairs)
            close += gap <= decimal.Decimal("0.01")
            if gap > MOST:
                apart.append(model)
        if known:
            out.append((name, len(section["models"]), known, close, apart))
    return out

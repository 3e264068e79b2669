"""From the sources to the rows."""

import datetime
import decimal
import re

import rows
import sources

# The day that the pinned versions stand for: what was replaced before it is left out. Move it with them.
AS_OF = datetime.date(2026, 11, 23)
# Sections that are taken as they are: genai-prices' id, and what the second source calls its models.
SECTIONS = {
    "anthropic": [""], "aws": [""], "azure": ["azure/", "azure_ai/"], "cerebras": ["cerebras/"], "cloudflare": ["cloudflare/"],
    "cohere": ["", "cohere/"], "deepseek": ["deepseek/"], "fireworks": ["fireworks_ai/", "fireworks_ai/accounts/fireworks/models/"],
    "google": ["gemini/", "vertex_ai/", ""], "groq": ["groq/"], "minimax": ["minimax/"], "mistral": ["mistral/"],
    "moonshotai": ["moonshot/"], "novita": ["novita/"], "openai": [""], "perplexity": ["perplexity/"], "together": ["together_ai/"],
    "x-ai": ["xai/"], "zai": ["zai/"], "zhipuai": [],
}
# Sections that only the second source has under the providers' own names.
FROM_SECOND = {"alibaba": "dashscope", "nebius": "nebius", "sambanova": "sambanova"}
MODES = {"chat", "completion", "embedding", "responses"}
# OpenRouter's list is as long as all others together. Its variants (`:batch`, `:free`) are left out, and the vendors
# whose models are rarely asked for.
OPENROUTER = {"anthropic", "deepseek", "google", "meta-llama", "minimax", "mistralai", "moonshotai", "openai", "qwen", "x-ai", "z-ai"}
PARTS = {"input": "input_mtok", "output": "output_mtok", "cached": "cache_read_mtok", "write": "cache_write_mtok",
         "write_1h": "cache_write_1h_mtok"}
SIMPLE = {"ClauseEquals": ("=", "equals"), "ClauseStartsWith": ("^", "starts_with"), "ClauseEndsWith": ("$", "ends_with"),
          "ClauseContains": ("~", "contains")}


def rules(clause):
    """The clause as (kind, text) pairs, any of which may match."""
    kind = type(clause).__name__
    if kind in SIMPLE:
        mark, field = SIMPLE[kind]
        return [(mark, getattr(clause, field))]
    if kind == "ClauseOr":
        return [r for c in clause.or_ for r in rules(c)]
    if kind == "ClauseAnd":
        # "Starts so, and is no text-to-speech": the models that are left out have rows of their own, which are closer.
        return [r for c in clause.and_ for r in rules(c)][:1]
    return []


def at(value, tokens):
    """A part of a price for prompts of more than so many tokens."""
    if not hasattr(value, "tiers") or value.tiers is None:
        return value
    steps = [t for t in value.tiers if t.start <= tokens]
    return max(steps, key=lambda t: t.start).price if steps else value.base


def rates(price, tokens):
    found = {name: at(getattr(price, field), tokens) for name, field in PARTS.items()}
    if found["output"] is None:
        # Embeddings write nothing.
        found["output"] = decimal.Decimal(0)
    return found


def price_of(price):
    """As text; None if its tokens have no price, or are free: that a model costs nothing is for the operator to say."""
    if price.input_mtok is None:
        return None
    base = rates(price, 0)
    if not base["input"] and not base["output"]:
        return None
    starts = sorted({t.start for v in vars(price).values() if getattr(v, "tiers", None) for t in v.tiers})
    return rows.price_text(base, [(s, rates(price, s)) for s in starts])


def row_of(model):
    """A row from a model of genai-prices; None without a usable price."""
    row = {}
    entries = model.prices if isinstance(model.prices, list) else None
    if entries is None:
        price = model.prices
    else:
        def begun(entry):
            c = entry.constraint
            return c is None or (c.start_date is not None and c.start_date <= AS_OF)
        first = max((i for i, e in enumerate(entries) if begun(e)), default=0)
        price = entries[first].prices
        later = [[when(e.constraint), price_of(e.prices)] for e in entries[first + 1:]]
        if any(text is None for _, text in later):
            return None
        if later:
            row["then"] = later
            if entries[first].constraint is not None:
                row["from"] = entries[first].constraint.start_date.isoformat()
    text = price_of(price)
    if text is None:
        return None
    row["price"] = text
    if price.requests_kcount:
        row["request"] = format((price.requests_kcount / 1000).normalize(), "f")
    row["context"] = model.context_window
    row["match"] = rows.match_text(model.id, rules(model.match))
    return row


def when(constraint):
    if constraint.start_date is not None:
        return constraint.start_date.isoformat()
    times = [constraint.start_time, constraint.end_time]
    if any(t.utcoffset() or t.second for t in times):
        raise SystemExit(f"a time of day that is not UTC, or not a whole minute: {times}")
    return "-".join(t.strftime("%H:%M") for t in times)


def million(row, field):
    """A price of the second source, per million tokens."""
    value = row.get(field)
    return None if value is None else decimal.Decimal(str(value)) * 1_000_000


def whole(value):
    return value if isinstance(value, int) and value > 0 else None


def facts(row, found):
    """What the second source knows of a model's sizes."""
    row["context"] = whole(row.get("context")) or whole(found.get("max_input_tokens"))
    row["output"] = whole(found.get("max_output_tokens"))


# What the second source calls the service tiers, and the parts of a price.
TIERS = {"flex": "_flex", "batch": "_batches", "priority": "_priority"}
SECOND_PARTS = {"input": "input_cost_per_token", "output": "output_cost_per_token", "cached": "cache_read_input_token_cost",
                "write": "cache_creation_input_token_cost"}


def near(ours, theirs):
    return abs(decimal.Decimal(ours) - theirs) <= decimal.Decimal("0.01") * max(decimal.Decimal(ours), theirs)


def tiers(row, found):
    """The prices of service tiers, which only the second source knows: where both agree on what is usual, so that they
    are of the same price. A price that changes with the day or the hour has none."""
    usual, steps = rows.price_read(row["price"])
    theirs = {part: million(found, SECOND_PARTS[part]) for part in ("input", "output")}
    if theirs["input"] is None or row.get("then"):
        return
    if not near(usual["input"], theirs["input"]) or not near(usual["output"], theirs["output"] or decimal.Decimal(0)):
        return
    for tier, suffix in TIERS.items():
        def part(name, over=""):
            return million(found, SECOND_PARTS[name] + over + suffix)
        base = {name: part(name) for name in SECOND_PARTS}
        if base["output"] is None and usual["output"] == "0":
            base["output"] = decimal.Decimal(0)
        if base["input"] is None or base["output"] is None:
            continue
        higher = []
        for over, _ in steps:
            step = {name: part(name, f"_above_{over // 1000}k_tokens") for name in SECOND_PARTS}
            if step["input"] is not None and step["output"] is not None:
                higher.append((over, step))
        row[tier] = rows.price_text(base, higher)


def from_second(prefix, second):
    out = {}
    for name, found in second.items():
        base = {"input": million(found, "input_cost_per_token"), "output": million(found, "output_cost_per_token"),
                "cached": million(found, "cache_read_input_token_cost")}
        model = name.removeprefix(prefix + "/")
        if found.get("litellm_provider") != prefix or found.get("mode") not in MODES or model == name:
            continue
        if not base["input"] or base["output"] is None:
            continue
        row = {"price": rows.price_text(base, [])}
        facts(row, found)
        tiers(row, found)
        out[model] = row
    return out


def book():
    """All of it, and how many models have no usable price."""
    listed = {p.id: p for p in sources.providers()}
    second = sources.second()
    sections, skipped = {}, 0

    def take(models, prefixes, suffix=""):
        nonlocal skipped
        out = {}
        for model in models:
            row = row_of(model)
            if row is None:
                skipped += 1
                continue
            names = [model.id] + [t for k, t in rules(model.match) if k == "="]
            found = next((second[p + n] for n in names for p in prefixes if p + n in second), {})
            facts(row, found)
            tiers(row, found)
            if suffix:
                # Its own name only: `-fast` and other names belong to the policies of the router.
                row["match"] = None
            out[model.id + suffix] = row
        return out

    for name, prefixes in SECTIONS.items():
        sections[name] = {"models": take(listed[name].models, prefixes)}
        others = [o for o in listed[name].fallback_model_providers or [] if o in SECTIONS]
        if others:
            sections[name]["else"] = others
    router = [m for m in listed["openrouter"].models if ":" not in m.id and m.id.split("/")[0] in OPENROUTER]
    sections["openrouter"] = {"models": take(router, ["openrouter/"])}
    sections["huggingface"] = {"models": {}}
    for name, provider in listed.items():
        if name.startswith("huggingface_"):
            # The router's own way to name the provider that is to answer.
            sections["huggingface"]["models"] |= take(provider.models, [], ":" + name.removeprefix("huggingface_"))
    for name, prefix in FROM_SECOND.items():
        sections[name] = {"source": sources.label(sources.SECOND), "models": from_second(prefix, second)}
    for section in sections.values():
        for row in section["models"].values():
            for field in [f for f, v in row.items() if v is None]:
                del row[field]
    return {"source": sources.label(sources.PRICES), "as_of": AS_OF.isoformat(), "providers": sections}, skipped


def strays(book):
    """Names for which genai-prices itself, which takes the first rule that fits, finds another price than we do,
    who take the closest. Tried are the names in the rules."""
    listed = {p.id: p for p in sources.providers()}

    def fits(clause, name):
        kind = type(clause).__name__
        if kind == "ClauseOr":
            return any(fits(c, name) for c in clause.or_)
        if kind == "ClauseAnd":
            return all(fits(c, name) for c in clause.and_)
        if kind == "ClauseRegex":
            return bool(re.search(clause.regex, name))
        return rows.rank((SIMPLE[kind][0], getattr(clause, SIMPLE[kind][1])), name) is not None

    out = []
    for section in SECTIONS:
        mine = book["providers"][section]
        for name in sorted({text for m in listed[section].models for _, text in rules(m.match)}):
            theirs = next(m for m in listed[section].models if fits(m.match, name.lower()))
            ours = mine["models"].get(rows.find(mine, name))
            row = row_of(theirs)
            if (ours and ours["price"]) != (row and row["price"]):
                out.append(f"{section}/{name}: {ours and ours['price']}, and by the first rule {row and row['price']}")
    return out

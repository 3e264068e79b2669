// Faults that are switched on and off while the simulator runs, for one model at a time.

import { Refusal } from "./errors.mjs";

/** Models that can have a fault at a time. */
const MOST_FAULTS = 1_000;
const LONGEST_TEXT = 200;

const FIELDS = new Set(["model", "fault", "share", "until_ms", "retry_after", "retry_after_date_s"]);

/**
 * The faults by model. `fault` is parts of a model's name, as in --help, and does to the model what they would
 * do at the end of its name.
 */
export class Control {
  #faults = new Map();

  /** Sets the fault of a model, or ends it where `fault` is null. Throws a Refusal and changes nothing if it is wrong. */
  set(body) {
    const unknown = Object.keys(body).find((name) => !FIELDS.has(name));
    if (unknown !== undefined) throw new Refusal(400, `unknown field ${unknown}`);
    const { model, fault = null, share = 1, until_ms: until = null, retry_after: after = null, retry_after_date_s: date = null } = body;
    if (!isText(model)) throw new Refusal(400, "model: the name of a model, without a provider");
    if (fault === null) {
      this.#faults.delete(model);
      return;
    }
    if (!isText(fault)) throw new Refusal(400, "fault: parts of a model's name, such as e503 or hang, or null");
    if (typeof share !== "number" || !(share > 0 && share <= 1)) throw new Refusal(400, "share: more than 0, at most 1");
    if (until !== null && !Number.isSafeInteger(until)) throw new Refusal(400, "until_ms: a time in milliseconds since 1970");
    if (after !== null && !isText(after)) throw new Refusal(400, "retry_after: the header's text");
    if (date !== null && !Number.isSafeInteger(date)) throw new Refusal(400, "retry_after_date_s: a whole number of seconds");
    if (!this.#faults.has(model) && this.#faults.size >= MOST_FAULTS) throw new Refusal(400, `at most ${MOST_FAULTS} models`);
    this.#faults.set(model, { fault, share, until, after, date, owed: 0, hit: 0 });
  }

  /**
   * The fault of this request for a model, or null. Of many requests exactly the share has it, evenly spread:
   * with 0.5 every other one.
   */
  of(model, now) {
    const entry = this.#faults.get(model.slice(model.lastIndexOf("/") + 1));
    if (entry === undefined || (entry.until !== null && now >= entry.until)) return null;
    entry.owed += entry.share;
    // Shares such as 0.1 do not add up exactly.
    if (entry.owed < 1 - 1e-9) return null;
    entry.owed -= 1;
    entry.hit += 1;
    const { fault, after, date } = entry;
    return { fault, retryAfter: date === null ? after : new Date(now + date * 1_000).toUTCString() };
  }

  list() {
    const rows = [...this.#faults].map(([model, { fault, share, until, after, date, hit }]) => ({
      model, fault, share, until_ms: until, retry_after: after, retry_after_date_s: date, hit,
    }));
    return { faults: rows };
  }
}

const isText = (value) => typeof value === "string" && value !== "" && value.length <= LONGEST_TEXT && !/[\r\n]/.test(value);

// The model name steers the simulator, so that a test or a load tool needs no side channel.

const HOUR_MS = 3_600_000;
/** Letter → the plan's field and its largest value. */
const NUMBERS = {
  t: ["ttft", HOUR_MS],
  i: ["itl", HOUR_MS],
  n: ["tokens", 100_000],
  l: ["whole", HOUR_MS],
  x: ["cut", 100_000],
  e: ["status", 599],
  p: ["calls", 16],
  o: ["failAfter", 100_000],
  r: ["cached", 1_000_000],
  w: ["written", 1_000_000],
};
const FAULTS = new Set([
  "hang", "stall", "html", "half", "nousage", "reset", "badjson", "redirect", "bomb", "short",
]);
/** How service tiers are given: all asks are priority's, no room for any, not told. */
const TIERS = new Set(["rush", "full", "untold"]);
/** Plans are kept because a load run asks for the same few names. */
const KEPT_PLANS = 1_000;
const LONGEST_KEPT_NAME = 200;
const kept = new Map();

/**
 * The service tier that a request is served in, as OpenAI names it; null where it is not told.
 *
 * @param {unknown} asked  the request's `service_tier`
 */
export function tierOf(asked, { tier }) {
  if (tier === "untold") return null;
  if ((asked === "flex" || asked === "priority") && tier !== "full") return asked;
  return tier === "rush" && (asked ?? "auto") === "auto" ? "priority" : "default";
}

/**
 * Reads `sim-small-t200-i20-n50` and the like. Parts that mean nothing are ignored, so a test can make a
 * name its own by adding one. A provider's prefix (`simulated/…`) is dropped.
 */
export function planOf(model, defaults) {
  const known = kept.get(model);
  if (known !== undefined) return known;
  const plan = {
    ...defaults, whole: null, cut: null, failAfter: null, status: null, calls: 1, cached: 0, written: 0,
    fault: null, usage: true, early: false, think: false, tier: null,
  };
  for (const part of model.slice(model.lastIndexOf("/") + 1).split("-")) {
    const number = /^([tinlxeporw])(\d+)$/.exec(part);
    if (number) {
      const [field, most] = NUMBERS[number[1]];
      plan[field] = Math.min(Number(number[2]), most);
    } else if (part === "nousage") {
      plan.usage = false;
    } else if (TIERS.has(part)) {
      plan.tier = part;
    } else if (part === "early") {
      plan.early = true;
    } else if (part === "think") {
      plan.think = true;
    } else if (FAULTS.has(part)) {
      plan.fault = part;
    }
  }
  if (plan.status !== null && plan.status < 400) plan.status = 500;
  // A whole answer takes as long as its stream would have taken, unless the name says otherwise.
  plan.wholeAfter = plan.whole ?? plan.ttft + plan.itl * Math.max(0, plan.tokens - 1);
  if (kept.size >= KEPT_PLANS) kept.clear();
  if (model.length <= LONGEST_KEPT_NAME) kept.set(model, plan);
  return plan;
}

// Whether a history of concurrent calls could have happened one after the other: the search of Wing and Gong with the
// memory of Lowe ("Testing for linearizability", 2017).
//
// A history is a list of calls, each with the time at which it was made and the one at which it returned, on one clock. It
// is linearizable when every call can be given a moment between the two so that the calls, in the order of these moments,
// do what the model does. A call whose outcome nobody knows (its process was killed) has no time of return: its moment is
// any after it was made, or never.

/** Configurations of the search that are remembered; beyond it there is no verdict. */
const CONFIGURATIONS_MAX = 2_000_000;

/**
 * `model`: { initial, step(state, call): the state after it, or undefined when the call cannot be answered so in `state`;
 * key(state): a string that tells states apart }. Gives { verdict: 'yes' }, { verdict: 'no', stuck } with the calls none
 * of which can come next in the longest order that was found, or { verdict: 'unknown' } when the search grew too large.
 */
export function checkHistory(calls, model, { configurationsMax = CONFIGURATIONS_MAX } = {}) {
  const known = calls.filter((call) => call.returned !== undefined).toSorted((one, other) => one.called - other.called);
  const open = calls.filter((call) => call.returned === undefined).toSorted((one, other) => one.called - other.called);
  const seen = new Set();
  const stack = [{ first: 0, beyond: [], opened: [], state: model.initial }];
  let longest = { length: -1, stuck: [] };
  while (stack.length > 0) {
    const place = stack.pop();
    if (place.first === known.length) return { verdict: 'yes' };
    const { next, candidates } = following(place, { known, open, model });
    const length = place.first + place.beyond.length;
    if (length > longest.length) longest = { length, stuck: candidates, state: place.state };
    for (const following of next) {
      const name = `${following.first}|${following.beyond.join()}|${following.opened.join()}|${model.key(following.state)}`;
      if (seen.has(name)) continue;
      if (seen.size >= configurationsMax) return { verdict: 'unknown' };
      seen.add(name);
      stack.push(following);
    }
  }
  return { verdict: 'no', ...longest };
}

/**
 * The places one call further. A place: all calls before `known[first]` have had their moment, so have `beyond` of those
 * behind it and `opened` of the open ones (indices, ascending).
 */
function following(place, { known, open, model }) {
  const { first, beyond, opened, state } = place;
  const next = [];
  const candidates = [];
  let earliestReturn = Infinity;
  for (let at = first; at < known.length && known[at].called <= earliestReturn; at++) {
    if (beyond.includes(at)) continue;
    const call = known[at];
    earliestReturn = Math.min(earliestReturn, call.returned);
    candidates.push(call);
    const after = model.step(state, call);
    if (after === undefined) continue;
    const further = { ...advance(first, beyond, at), opened, state: after };
    // What is answered as the state has it and changes nothing may have its moment now: nothing is lost by it.
    if (model.key(after) === model.key(state)) return { next: [further], candidates: [] };
    next.push(further);
  }
  // The last is tried first: known calls before open ones, and of these the one that was called first.
  next.reverse();
  for (let at = 0; at < open.length && open[at].called <= earliestReturn; at++) {
    if (opened.includes(at)) continue;
    candidates.push(open[at]);
    const after = model.step(state, open[at]);
    if (after !== undefined && model.key(after) !== model.key(state)) next.unshift({ first, beyond, opened: insert(opened, at), state: after });
  }
  return { next, candidates };
}

function insert(sorted, at) {
  return [...sorted, at].toSorted((one, other) => one - other);
}

function advance(first, beyond, at) {
  if (at !== first) return { first, beyond: insert(beyond, at) };
  let index = first + 1;
  let passed = 0;
  while (beyond[passed] === index) [index, passed] = [index + 1, passed + 1];
  return { first: index, beyond: beyond.slice(passed) };
}

/**
 * One key of the store. Every value is set once in a history. The answers of calls:
 *
 *   { kind: 'get', answer: { value, version } or null }
 *   { kind: 'set', value, ifVersion?, ifAbsent?, answer: { version } or { conflict: version or null } }
 *   { kind: 'delete', ifVersion?, answer: { found } or { conflict: version or null } }
 *
 * A version that is undefined is not compared. `answer` is undefined where the outcome is not known.
 */
export function keyModel(calls) {
  const versionOf = new Map(calls.flatMap(({ kind, value, answer }) => (kind === 'set' && answer?.version !== undefined ? [[value, answer.version]] : [])));
  // The version of a set whose own answer never came is known when somebody read its value.
  for (const { kind, answer } of calls) {
    if (kind === 'get' && answer?.version !== undefined && !versionOf.has(answer.value)) versionOf.set(answer.value, answer.version);
  }
  const taken = new Set(versionOf.values());
  /** Undefined as state.version: it has one, behind `last`, that nobody read. */
  const has = ({ version, last }, wanted) => wanted === undefined || version === wanted || (version === undefined && wanted > last && !taken.has(wanted));
  const agrees = (state, conflict) => (conflict === null ? state.value === undefined : state.value !== undefined && has(state, conflict));
  const conditionHolds = (state, { ifVersion, ifAbsent }) => {
    if (ifAbsent === true) return state.value === undefined;
    return ifVersion === undefined || (state.value !== undefined && has(state, ifVersion));
  };
  const steps = {
    get(state, { answer }) {
      if (answer === null) return state.value === undefined ? state : undefined;
      return state.value === answer.value && has(state, answer.version) ? state : undefined;
    },
    set(state, { value, answer, ...condition }) {
      if (answer?.conflict !== undefined) return agrees(state, answer.conflict) && !conditionHolds(state, condition) ? state : undefined;
      if (!conditionHolds(state, condition)) return undefined;
      const version = versionOf.get(value);
      if (version !== undefined && version <= state.last) return undefined;
      return { value, version, last: version ?? state.last };
    },
    delete(state, { answer, ifVersion }) {
      if (answer?.conflict !== undefined) return agrees(state, answer.conflict) && !conditionHolds(state, { ifVersion }) ? state : undefined;
      if (!conditionHolds(state, { ifVersion })) return undefined;
      if (answer !== undefined && answer.found !== (state.value !== undefined)) return undefined;
      return { value: undefined, version: undefined, last: state.last };
    },
  };
  return {
    initial: { value: undefined, version: undefined, last: 0 },
    step: (state, call) => steps[call.kind](state, call),
    key: ({ value, version, last }) => `${value}|${version}|${last}`,
  };
}

/** Checks each key by itself, which is enough (Herlihy and Wing), and the versions of all: findings as text; none: it is linearizable. */
export function checkStoreHistory(calls, options) {
  const findings = [...checkVersions(calls)];
  for (const [key, own] of grouped(calls)) {
    // A get without an answer says nothing.
    const told = own.filter((call) => call.answer !== undefined || call.kind !== 'get');
    const { verdict, stuck, length, state } = checkHistory(told, keyModel(told), options);
    if (verdict === 'unknown') findings.push(`key ${key}: no verdict, the search through ${told.length} calls grew too large`);
    if (verdict === 'no') findings.push(`key ${key}: not linearizable: after ${length} of ${told.length} calls, with ${JSON.stringify(state)}, none of these can come next:\n${stuck.map((call) => `    ${JSON.stringify(call)}`).join('\n')}`);
  }
  return findings;
}

function grouped(calls) {
  const groups = new Map();
  for (const call of calls) {
    const group = groups.get(call.key);
    if (group === undefined) groups.set(call.key, [call]);
    else group.push(call);
  }
  return groups;
}

/** No version comes twice, of whatever keys, and one that was given after another had been given is larger. */
function* checkVersions(calls) {
  const sets = calls.filter(({ kind, answer }) => kind === 'set' && answer?.version !== undefined);
  const byCall = sets.toSorted((one, other) => one.called - other.called);
  const byReturn = sets.toSorted((one, other) => one.returned - other.returned);
  const given = new Map();
  let largest;
  let at = 0;
  for (const set of byCall) {
    const twin = given.get(set.answer.version);
    if (twin !== undefined) yield `version ${set.answer.version} was given twice: ${JSON.stringify(twin)} and ${JSON.stringify(set)}`;
    given.set(set.answer.version, set);
    while (at < byReturn.length && byReturn[at].returned < set.called) {
      if (largest === undefined || byReturn[at].answer.version > largest.answer.version) largest = byReturn[at];
      at++;
    }
    if (largest !== undefined && largest.answer.version > set.answer.version) yield `versions went back: ${JSON.stringify(largest)} had returned before ${JSON.stringify(set)} was called`;
  }
}

/**
 * Locks by the time for which their holders could count on them: { name, token, called, granted, until }, where `until` is
 * when the holder gave it back, or its time was up. Two never hold at once, and a later one has the larger token.
 */
export function checkGrants(grants) {
  const findings = [];
  for (const own of grouped(grants.map((grant) => ({ ...grant, key: grant.name }))).values()) {
    const sorted = own.toSorted((one, other) => one.granted - other.granted);
    for (const [at, grant] of sorted.entries()) {
      const before = sorted[at - 1];
      if (before === undefined) continue;
      if (grant.granted < before.until) findings.push(`two hold the lock at once: ${JSON.stringify(before)} and ${JSON.stringify(grant)}`);
      if (grant.token <= before.token) findings.push(`tokens went back: ${JSON.stringify(before)}, then ${JSON.stringify(grant)}`);
    }
  }
  return findings;
}

import fc from 'fast-check';

type Container = Record<string | number, unknown>;

const CONSTANTS = [
  ...[undefined, null, true, '', 'x', '__proto__', '\u001b[2J\u202e', 'x'.repeat(1 << 17), [], {}, [[]]],
  ...[-1, -0, 0, 0.5, 1, 2, 3, 64, 65, 4096, 2 ** 24, 2 ** 31, 2 ** 53, 1e300, Infinity, -Infinity, NaN],
];

/** What may become of one part: `of` is what was there. */
const replacement: fc.Arbitrary<(of: unknown) => unknown> = fc.oneof(
  fc.constantFrom(...CONSTANTS).map((constant) => () => constant),
  fc
    .constantFrom(...[(x: number) => x + 1, (x: number) => x - 1, (x: number) => -x, (x: number) => 2 * x])
    .map((change) => (of: unknown) => (typeof of === 'number' ? change(of) : [of])),
  fc.jsonValue({ maxDepth: 2 }).map((value) => () => value),
);

/** A plain value with one to three of its parts replaced, removed, doubled or added, at random places. */
export function mutated(value: unknown): fc.Arbitrary<unknown> {
  const edit = fc.record({
    place: fc.nat(),
    how: fc.constantFrom('replace', 'replace', 'replace', 'remove', 'double', 'add'),
    replace: replacement,
  });
  return fc.array(edit, { minLength: 1, maxLength: 3 }).map((edits) => {
    const root: Container = { value: structuredClone(value) };
    for (const { place, how, replace } of edits) {
      const all = places(root);
      if (all.length === 0) break;
      const [parent, key] = all[place % all.length];
      if (how === 'replace') parent[key] = replace(parent[key]);
      else if (how === 'add') parent[Array.isArray(parent) ? parent.length : 'unknown'] = replace(null);
      else if (!Array.isArray(parent)) delete parent[key];
      else
        parent.splice(
          Number(key),
          1,
          ...(how === 'double' ? [parent[Number(key)], parent[Number(key)]] : []),
        );
    }
    return root.value;
  });
}

/** Every part of a value, by what holds it and under which key. */
function places(parent: Container): [Container, string][] {
  return Object.entries(parent).flatMap(([key, part]): [Container, string][] => [
    [parent, key],
    ...(typeof part === 'object' && part !== null ? places(part as Container) : []),
  ]);
}

/** Lists in each other, deeper than any recursion reaches. */
export function deepList(levels = 100_000): unknown {
  let value: unknown = [];
  for (let i = 0; i < levels; i++) value = [value];
  return value;
}

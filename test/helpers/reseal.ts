import { createHash } from 'node:crypto';

/** A manifest's content with the hash that fits, as whoever wants to deceive would send it; nothing is checked. */
export function resealed<T>(manifest: T): T {
  if (typeof manifest !== 'object' || manifest === null || Array.isArray(manifest)) return manifest;
  const { planHash: _, ...content } = manifest as T & { planHash?: unknown };
  const planHash = createHash('sha256')
    .update(JSON.stringify(sorted(content)))
    .digest('hex');
  return { ...content, planHash } as T;
}

/** With the keys of all objects in order, and without what is undefined. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value)
    .filter(([, part]) => part !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, part]) => [key, sorted(part)]);
  return Object.fromEntries(entries);
}

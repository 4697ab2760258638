/** What a model's files and a file of costs must be, written a second time and without the product. */
import { positive, preprocessingRules, soundClasses, text, whole } from './manifest-oracle.ts';
import { sha256 } from './oracles.ts';

interface Activation {
  kind?: string | null;
  degree: number;
  coefficients: number[];
  range: [number, number];
}

interface Block {
  inChannels: number;
  outChannels: number;
  kernel: number;
  dilation: number;
  helix?: number | null;
  pool: number;
  pooling?: string | null;
  activation: Activation;
}

/** What of model.json the rules are about. */
interface ModelFields {
  format: unknown;
  version: unknown;
  name: unknown;
  classes: unknown[];
  preprocessing: Parameters<typeof preprocessingRules>[0];
  samples: number;
  blocks: Block[];
  scoreLimit: number;
  weights: { bytes: number; sha256: string };
}

/** The rules that a model's two files break. */
export function modelProblems(json: unknown, weights: Uint8Array): string[] {
  try {
    const m = json as ModelFields;
    const rules: [string, boolean][] = [
      ['format and version', m.format === 'blindbeat-model' && m.version === 1],
      ['name', text(m.name)],
      ['classes: 2 or more different texts', soundClasses(m.classes)],
      ...preprocessingRules(m.preprocessing),
      ['samples: those of the preprocessing', m.samples === m.preprocessing.samples],
      ['score limit', positive(m.scoreLimit)],
      ['blocks: 1 to 64', m.blocks.length >= 1 && m.blocks.length <= 64],
      ['blocks: counts, kernels, activations', m.blocks.every(soundBlock)],
      ['blocks: each takes what the one before gives', chained(m.blocks, m.samples)],
      ['weights: length', m.weights.bytes === weights.length && weights.length === 4 * numbersOf(m)],
      ['weights: checksum', m.weights.sha256 === Buffer.from(sha256(weights)).toString('hex')],
      ['weights: finite', finite(weights)],
    ];
    return rules.filter(([, holds]) => !holds).map(([rule]) => rule);
  } catch {
    return ['structure: a field is missing or of another type'];
  }
}

/** Numbers in weights.bin. */
export function numbersOf({ blocks, classes }: Pick<ModelFields, 'blocks' | 'classes'>): number {
  const each = blocks.map(({ inChannels, outChannels, kernel, activation }) => {
    const polynomial =
      activation.kind === undefined || activation.kind === null || activation.kind === 'polynomial';
    return outChannels * (kernel * inChannels + 1 + (polynomial ? activation.degree + 1 : 0));
  });
  const last = blocks[blocks.length - 1].outChannels;
  return each.reduce((sum, count) => sum + count, 0) + (last + 1) * classes.length;
}

function soundBlock(b: Block): boolean {
  const channels = whole(b.inChannels, 1, 8192) && whole(b.outChannels, 1, 8192);
  const taps = whole(b.kernel, 1, 1023) && b.kernel % 2 === 1 && whole(b.dilation, 1, 65536);
  const pooling = whole(b.pool, 1, 2 ** 24) && ['average', 'max'].includes(b.pooling ?? 'average');
  return channels && taps && pooling && whole(b.helix ?? 0, 0, 8192) && soundActivation(b.activation);
}

function soundActivation({ kind, degree, coefficients, range }: Activation): boolean {
  const [low, high] = range;
  if (range.length !== 2 || !(Number.isFinite(low) && Number.isFinite(high) && low < high)) return false;
  if (kind === 'relu') return true;
  if (kind === 'chebyshev')
    return coefficients.length >= 2 && coefficients.length <= 64 && coefficients.every(Number.isFinite);
  return (kind === undefined || kind === null || kind === 'polynomial') && whole(degree, 1, 64);
}

function chained(blocks: Block[], samples: number): boolean {
  let channels = 1;
  let time = samples;
  return blocks.every((block, i) => {
    const fits = block.inChannels === channels && time % block.pool === 0;
    const helical = !(block.helix ?? 0) || (i > 0 && (blocks[i - 1].pooling ?? 'average') === 'average');
    channels = block.outChannels;
    time /= block.pool;
    return fits && helical;
  });
}

function finite(weights: Uint8Array): boolean {
  const view = new DataView(weights.buffer, weights.byteOffset, weights.length);
  for (let at = 0; at + 4 <= weights.length; at += 4)
    if (!Number.isFinite(view.getFloat32(at, true))) return false;
  return true;
}

/** The rules that a file of costs breaks, given the names of the operations. */
export function costProblems(json: unknown, operations: readonly string[]): string[] {
  try {
    const c = json as {
      format: unknown;
      version: unknown;
      n: number;
      costs: Record<string, { squared: number; linear: number }>;
      measured: { operation: string; limbs: number; ms: number }[];
    };
    const cost = (x: unknown) => typeof x === 'number' && Number.isFinite(x) && x >= 0;
    const rules: [string, boolean][] = [
      ['format and version', c.format === 'blindbeat costs' && c.version === 1],
      ['ring degree', whole(c.n, 1, 2 ** 24)],
      [
        'costs: of every operation, not negative',
        operations.every((o) => cost(c.costs[o].squared) && cost(c.costs[o].linear)),
      ],
      ['measurements: a list of what was measured', Array.isArray(c.measured) && c.measured.length <= 4096],
      [
        'measurements: each of an operation',
        c.measured.every((m) => operations.includes(m.operation) && cost(m.ms)),
      ],
    ];
    return rules.filter(([, holds]) => !holds).map(([rule]) => rule);
  } catch {
    return ['structure: a field is missing or of another type'];
  }
}

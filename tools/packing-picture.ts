/**
 * Draws docs/packing.svg: how channels and samples lie in the slots of a small network, and a convolution as
 * rotations and periodic weights, by the functions that pack real networks. A test compares the committed
 * picture.
 *
 *   npm run packing-picture
 */
import { writeFileSync } from 'node:fs';
import type { TopLevelSpec } from 'vega-lite';
import { drawSvg, TITLE_STYLE } from '../src/charts/svg.ts';
import type { FoldedConvolution } from '../src/ckks/circuit/fold-activations.ts';
import { convolutionDiagonals, inputLayout, type Layout, outputLayout } from '../src/ckks/circuit/packing.ts';
import { packSegment } from '../src/ckks/wire/reply.ts';

const SLOTS = 16;
const SAMPLES = 8;
/** Channels of the two blocks; the second one's input is pooled by 2. */
const CHANNELS = [4, 8];
const KERNEL = 3;
const POOL = 2;
const CELL = 34;
const COLOURS = ['#9ecae1', '#fdae6b', '#a1d99b', '#bcbddc', '#fc9272', '#d9d9d9', '#fee391', '#c7e9c0'];

type Panel = Extract<TopLevelSpec, { vconcat: unknown }>['vconcat'][number];

interface Cell {
  row: string;
  column: number;
  channel: number;
  text: string;
}

/** The picture as the text of an SVG file. */
export function packingPicture(): Promise<string> {
  const input = inputLayout(SLOTS, SAMPLES);
  const first = outputLayout(input, CHANNELS[0], 1);
  const second = outputLayout(first, CHANNELS[1], POOL);
  const spec: TopLevelSpec = {
    title: {
      text: 'How a network lies in the slots',
      subtitle: [
        `${SLOTS} slots, ${SAMPLES} samples; blocks of ${CHANNELS.join(' and ')} channels; kernel ${KERNEL}, average pooling by ${POOL} between them.`,
        'The shipped network has 8192 slots, 4096 samples and six blocks, and fills four ciphertexts in every layer in the same way.',
      ],
      ...TITLE_STYLE,
    },
    padding: 14,
    spacing: 30,
    vconcat: [
      panel('input: each sample in two slots; x3 is sample 3', inputCells(), 'slot'),
      panel(
        `after block 1: ${first.interleave} channels side by side; c2 t3 is channel 2 at time 3`,
        layerCells(first),
        'slot',
      ),
      panel(
        `after block 2, pooled by 2: ${second.interleave} channels side by side, half as many times`,
        layerCells(second),
        'slot',
      ),
      panel(
        'block 2 as rotations: what output ciphertext 0 reads of input ciphertext 0; the weights repeat with period 4',
        weightCells(first, second),
        `output slot modulo ${second.interleave}`,
        'rotated by',
      ),
    ],
    config: { view: { stroke: null }, font: 'Helvetica, Arial, sans-serif' },
  };
  return drawSvg(spec);
}

function panel(title: string, cells: Cell[], xTitle: string, yTitle: string | null = null): Panel {
  const columns = Math.max(...cells.map(({ column }) => column)) + 1;
  const rows = new Set(cells.map(({ row }) => row)).size;
  return {
    title: { text: title, anchor: 'start', fontSize: 12, fontWeight: 'normal', offset: 8 },
    width: CELL * columns,
    height: 26 * rows,
    data: { values: cells },
    encoding: {
      x: {
        field: 'column',
        type: 'ordinal',
        title: xTitle,
        axis: { labelAngle: 0, domain: false, ticks: false, titleFontWeight: 'normal' },
      },
      y: {
        field: 'row',
        type: 'ordinal',
        sort: null,
        title: yTitle,
        axis: { domain: false, ticks: false, titleFontWeight: 'normal', minExtent: 90 },
      },
    },
    layer: [
      {
        mark: { type: 'rect', stroke: 'white', strokeWidth: 1.5 },
        encoding: {
          color: {
            field: 'channel',
            type: 'nominal',
            scale: { domain: COLOURS.map((_, c) => c), range: COLOURS },
            legend: null,
          },
        },
      },
      {
        mark: { type: 'text', fontSize: 10 },
        encoding: { text: { field: 'text', type: 'nominal' } },
      },
    ],
  };
}

function inputCells(): Cell[] {
  const samples = Float32Array.from({ length: SAMPLES }, (_, i) => i);
  return Array.from(packSegment(samples, SLOTS), (sample, column) => ({
    row: 'ciphertext 0',
    column,
    channel: 0,
    text: `x${sample}`,
  }));
}

function layerCells({ interleave, ciphertexts }: Layout): Cell[] {
  return Array.from({ length: ciphertexts * SLOTS }, (_, k) => {
    const ciphertext = Math.floor(k / SLOTS);
    const column = k % SLOTS;
    const channel = ciphertext * interleave + (column % interleave);
    const time = Math.floor(column / interleave);
    return { row: `ciphertext ${ciphertext}`, column, channel, text: `c${channel} t${time}` };
  });
}

/** Weights that name their input channel: channel i has weight i + 1 in every tap. */
function weightCells(before: Layout, after: Layout): Cell[] {
  const conv: FoldedConvolution = {
    name: 'block 2',
    inChannels: before.channels,
    outChannels: after.channels,
    kernel: KERNEL,
    dilation: 1,
    helix: 0,
    pool: POOL,
    weights: Float64Array.from(
      { length: KERNEL * before.channels * after.channels },
      (_, k) => POOL * (1 + (Math.floor(k / after.channels) % before.channels)),
    ),
    bias: new Float64Array(after.channels),
    bound: 1,
    polynomial: null,
  };
  const { weights, period } = convolutionDiagonals(conv, before, after);
  return [...weights]
    .sort(([a], [b]) => a - b)
    .flatMap(([amount, rows]) =>
      Array.from({ length: period }, (_, column): Cell | null => {
        const weight = rows[0][0]?.[column] ?? 0;
        return weight === 0
          ? null
          : { row: String(amount), column, channel: weight - 1, text: `c${weight - 1}` };
      }).filter((cell) => cell !== null),
    );
}

if (import.meta.main) writeFileSync(new URL('../docs/packing.svg', import.meta.url), await packingPicture());

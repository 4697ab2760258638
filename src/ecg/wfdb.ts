import { BlindbeatError } from '../errors.ts';
import { printable } from '../schema.ts';
import type { Recording } from './recording.ts';

/** A WFDB header (`.hea`): https://physionet.org/physiotools/wag/header-5.htm */
export interface WfdbHeader {
  name: string;
  rate: number;
  /** Samples per signal; undefined if the header does not say, then the signal files' sizes do. */
  samples?: number;
  signals: WfdbSignal[];
}

/** One signal line: physical value = (stored value - baseline) / gain. */
interface WfdbSignal {
  file: string;
  format: number;
  /** Bytes before the first sample; 24 for the MATLAB v4 files of PhysioNet. */
  offset: number;
  /** Converter steps per unit. */
  gain: number;
  baseline: number;
  unit: string;
  name: string;
}

/**
 * How the two storage formats that are read look: bytes for `count` samples, one sample, the mark of a gap.
 */
interface StorageFormat {
  bytes(count: number): number;
  count(bytes: number): number;
  read(bytes: DataView, offset: number, index: number): number;
  missing: number;
}

/** https://physionet.org/physiotools/wag/signal-5.htm */
const FORMATS: Record<number, StorageFormat> = {
  // 16-bit two's complement, least significant byte first
  16: {
    bytes: (count) => 2 * count,
    count: (bytes) => Math.floor(bytes / 2),
    read: (bytes, offset, index) => bytes.getInt16(offset + 2 * index, true),
    missing: -32768,
  },
  // two 12-bit samples in three bytes: low byte, then the high nibbles (second sample's above), low byte
  212: {
    bytes: (count) => Math.ceil((3 * count) / 2),
    count: (bytes) => Math.floor((2 * bytes) / 3),
    read: (bytes, offset, index) => {
      const at = offset + 3 * (index >> 1);
      const nibbles = bytes.getUint8(at + 1);
      const value =
        index % 2 === 0
          ? bytes.getUint8(at) | ((nibbles & 0x0f) << 8)
          : bytes.getUint8(at + 2) | ((nibbles & 0xf0) << 4);
      return value >= 2048 ? value - 4096 : value;
    },
    missing: -2048,
  },
};

/** Polysomnographies have some dozens. */
const MOST_SIGNALS = 512;

/** mV per unit of a header; a signal in another unit is no ECG. */
const MILLIVOLTS: Record<string, number> = { mv: 1, uv: 1e-3, µv: 1e-3, μv: 1e-3, v: 1e3 };

/**
 * Parses a `.hea` file. Checksums, initial values, skews and comments are ignored: in CinC 2017 the first two
 * are often wrong.
 *
 * @throws BlindbeatError ECG with the number of the line that does not fit
 */
export function parseHeader(text: string): WfdbHeader {
  const lines = text
    .split(/\r?\n/)
    .map((line, i) => ({ fields: line.trim().split(/\s+/), number: i + 1, text: line.trim() }))
    .filter((line) => line.text !== '' && !line.text.startsWith('#'));
  const fail = (line: number, expected: string): never => {
    throw new BlindbeatError(
      'ECG',
      `Line ${line} of the WFDB header: expected ${expected}. Is the .hea file whole?`,
    );
  };
  const record = lines[0];
  if (!record) return fail(1, 'a record line "name signals rate samples", got an empty file');
  const [name, count, rateField, samplesField] = record.fields;
  if (name.includes('/')) {
    return fail(
      record.number,
      'a record in one piece; multi-segment records are not supported, open one part',
    );
  }
  const signalCount = integer(count);
  if (!(signalCount > 0 && signalCount <= MOST_SIGNALS)) {
    return fail(record.number, `a record line "name signals rate samples" with 1 to ${MOST_SIGNALS} signals`);
  }
  const rate = rateField === undefined ? 250 : Number.parseFloat(rateField);
  if (!(rate > 0) || !Number.isFinite(rate)) return fail(record.number, 'a positive sampling rate in Hz');
  const samples = samplesField === undefined ? 0 : integer(samplesField);
  if (!(samples >= 0)) return fail(record.number, 'a whole number of samples');
  const signals = lines
    .slice(1, 1 + signalCount)
    .map((line, i) => parseSignal(line.fields, i, line.number, fail));
  if (signals.length < signalCount) {
    return fail(record.number + signals.length + 1, `${signalCount} signal lines, got ${signals.length}`);
  }
  return { name, rate, samples: samples || undefined, signals };
}

function parseSignal(
  fields: string[],
  index: number,
  line: number,
  fail: (line: number, expected: string) => never,
): WfdbSignal {
  const [file, storage, gainField, , zero] = fields;
  const format = /^(\d+)(?:x(\d+))?(?::\d+)?(?:\+(\d+))?$/.exec(storage ?? '');
  if (!format) return fail(line, 'a signal line "file format gain ..."');
  if (/[\\/~:*?"<>|\p{C}]|^\.*$|^-$/u.test(file)) {
    return fail(line, 'a signal file beside the header, without a folder in its name');
  }
  if (!(Number(format[1]) in FORMATS)) {
    return fail(line, `storage format ${Object.keys(FORMATS).join(' or ')}, got ${format[1]}`);
  }
  if (Number(format[2] ?? 1) !== 1) return fail(line, 'one sample per frame (format "x1")');
  const gain = /^([-+\d.eE]+)(?:\(([-+]?\d+)\))?(?:\/(\S+))?$/.exec(gainField ?? '200');
  if (!gain || !(Number(gain[1]) === 0 || isPlausible(Number(gain[1]))))
    return fail(line, 'a gain such as "200(0)/mV"');
  const baseline = Number(gain[2] ?? (Number(zero ?? 0) || 0));
  if (!(Math.abs(baseline) <= 2 ** 31)) return fail(line, 'a baseline within 32 bits');
  return {
    file,
    format: Number(format[1]),
    offset: Number(format[3] ?? 0),
    gain: Number(gain[1]) || 200,
    baseline,
    unit: gain[3] ?? 'mV',
    name: fields.slice(8).join(' ') || `signal ${index + 1}`,
  };
}

/** Whether samples divided by such a gain are numbers: a factor of 10^30 and its inverse are beyond all. */
function isPlausible(gain: number): boolean {
  return Math.abs(gain) >= 1e-30 && Math.abs(gain) <= 1e30;
}

function integer(text: string | undefined): number {
  return /^\d+$/.test(text ?? '') ? Number(text) : Number.NaN;
}

/**
 * Decodes the signals in mV (format 16, also inside MATLAB v4 files, and 212); samples marked as missing
 * become NaN, signals whose unit is no voltage are left out. `files` holds the bytes of each signal file by
 * name.
 *
 * @throws BlindbeatError ECG if a file is missing or shorter than the header says, or no lead is a voltage
 */
export function decodeWfdb(header: WfdbHeader, files: ReadonlyMap<string, Uint8Array>): Recording {
  const { name, rate } = header;
  const samples = header.samples ?? samplesInFiles(header, files);
  const leads = header.signals
    .map((signal) => ({ signal, toMillivolts: MILLIVOLTS[signal.unit.toLowerCase()] }))
    .filter(({ toMillivolts }) => toMillivolts !== undefined)
    .map(({ signal, toMillivolts }) => ({
      name: signal.name,
      mv: decodeSignal(header, signal, samples, toMillivolts, files),
    }));
  if (leads.length === 0) {
    throw new BlindbeatError(
      'ECG',
      `${printable(name)} has no lead in mV, uV or V: its units are ${[...new Set(header.signals.map((s) => printable(s.unit)))].slice(0, 8).join(', ')}.`,
    );
  }
  return { name, rate, leads };
}

function decodeSignal(
  header: WfdbHeader,
  signal: WfdbSignal,
  samples: number,
  toMillivolts: number,
  files: ReadonlyMap<string, Uint8Array>,
): Float64Array {
  const group = header.signals.filter((s) => s.file === signal.file);
  if (group.some((s) => s.format !== signal.format)) {
    throw new BlindbeatError(
      'ECG',
      `${printable(signal.file)}: expected one storage format per file, got several.`,
    );
  }
  const format = FORMATS[signal.format];
  const bytes = fileOf(signal, files);
  const offset = group[0].offset;
  const needed = offset + format.bytes(samples * group.length);
  if (bytes.byteLength < needed) {
    throw new BlindbeatError(
      'ECG',
      `${printable(signal.file)} is cut off: ${group.length} x ${samples} samples need ${needed} bytes, it has ${bytes.byteLength}. Download it again.`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const mv = new Float64Array(samples);
  const first = group.indexOf(signal);
  for (let i = 0; i < samples; i++) {
    const value = format.read(view, offset, i * group.length + first);
    mv[i] = value === format.missing ? Number.NaN : ((value - signal.baseline) / signal.gain) * toMillivolts;
  }
  return mv;
}

/** Samples per signal by the sizes of the files, where the header does not say. */
function samplesInFiles(header: WfdbHeader, files: ReadonlyMap<string, Uint8Array>): number {
  return Math.min(
    ...header.signals.map((signal) => {
      const group = header.signals.filter((s) => s.file === signal.file);
      const bytes = fileOf(signal, files).byteLength - group[0].offset;
      return Math.max(0, Math.floor(FORMATS[signal.format].count(bytes) / group.length));
    }),
  );
}

function fileOf(signal: WfdbSignal, files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const bytes = files.get(signal.file);
  if (bytes) return bytes;
  throw new BlindbeatError(
    'ECG',
    `The header names the signal file ${printable(signal.file)}, which is missing. Put it beside the header.`,
  );
}

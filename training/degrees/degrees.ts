import { join } from 'node:path';
import { degreesChart } from '../../src/charts/degrees.ts';
import { drawSvg } from '../../src/charts/svg.ts';
import type { DatasetRecord } from '../../src/dataset/cinc2017.ts';
import { openDataset } from '../../src/dataset/open.ts';
import { chooseRecords, drawRecords } from '../../src/evaluation/records.ts';
import { type Evaluation, summarise } from '../../src/evaluation/summary.ts';
import { machine } from '../../src/measure/machine.ts';
import type { Watch } from '../../src/measure/progress.ts';
import type { Model } from '../../src/model/model.ts';
import type { Reporter } from '../train.ts';
import { type Cell, cellsOf, trainedMethod } from './cells.ts';
import { degreesHtml } from './html.ts';
import { degreesCsv, degreesMarkdown } from './report.ts';
import { rowsOf } from './rows.ts';
import { studyDegrees } from './study.ts';
import { type Table, tablesOf } from './tables.ts';
import { commandOf, type DegreesOptions, textsOf } from './texts.ts';

/** What a study found, for people and for programs. */
export interface DegreesReport {
  /** Records of the test part. */
  records: number;
  /** Of the ReLU network. */
  relu: Evaluation;
  tables: Table[];
  /** All of it, as data. */
  document: object;
  markdown: string;
  html: string;
  csv: string;
  svg: string;
}

/** What the study and its report are made with. */
export interface DegreesSetting extends Watch {
  /** The ReLU network. */
  baseline: Model;
  /** Markdown that the report includes as it is. */
  remarks?: string;
  /** The picture's path from the report in Markdown. */
  picture: string;
  reporter: Reporter;
}

/**
 * Measures what the degree of the polynomials in place of ReLU costs, in accuracy and under encryption, and
 * writes the report. Finished cells are kept in the work folder.
 *
 * @throws BlindbeatError what `studyDegrees`, `startServer` and `evaluateEncrypted` throw
 */
export async function measureDegrees(
  options: DegreesOptions,
  { baseline, remarks, picture, reporter, ...watch }: DegreesSetting,
): Promise<DegreesReport> {
  const { seed, epochs, threads, encryptedModes } = options;
  const work = join(options.work, 'degrees');
  const study = await studyDegrees({
    ...options,
    baseline,
    cells: cellsOf(options),
    work,
    cache: join(options.work, 'cache'),
    backend: options.trainingBackend,
    reporter,
    signal: watch.signal,
  });
  const records = await encryptedRecords(options);
  const isEncrypted = ({ mode, method }: Cell) =>
    encryptedModes.includes(mode) && method === trainedMethod(options.methods);
  const rows = await rowsOf(study, baseline, { work, seed, threads, records, isEncrypted, ...watch });
  const relu = summarise(study.baseline, baseline.classes, seed);
  const svg = await drawSvg(degreesChart(rows, relu, study.baseline.length));
  const texts = { ...textsOf(options, study, rows, { model: baseline, ...relu }), remarks };
  return {
    records: study.baseline.length,
    relu,
    tables: tablesOf(rows),
    document: {
      command: commandOf(options),
      machine: machine(),
      seed,
      records: study.records,
      epochs,
      baseline: { model: baseline.name, ...relu },
      cells: rows,
    },
    markdown: degreesMarkdown(rows, texts, picture),
    html: degreesHtml(rows, texts, svg),
    csv: degreesCsv(rows),
    svg,
  };
}

async function encryptedRecords({ data, seed, encrypted }: DegreesOptions): Promise<DatasetRecord[]> {
  if (encrypted === undefined) return [];
  const { records } = await chooseRecords(openDataset(data).records, { data, split: 'test', seed });
  return drawRecords(records, encrypted, seed);
}

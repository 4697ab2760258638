import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const FOLDER = join(import.meta.dirname, '../../src/ecg');
/** The files that touch the disk; all else runs in a browser. */
const WITH_DISK = ['dataset.ts', 'files.ts'];

test('when src/ecg is imported by a browser then only files.ts and dataset.ts would need Node', () => {
  const needing = readdirSync(FOLDER).filter((file) =>
    /from '(node:|\.\/(files|dataset)\.ts)|\b(process|Buffer)\./.test(
      readFileSync(join(FOLDER, file), 'utf8'),
    ),
  );
  expect(needing.sort()).toEqual(WITH_DISK);
});

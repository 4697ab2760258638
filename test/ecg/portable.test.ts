import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const FOLDER = join(import.meta.dirname, '../../src/ecg');

test('when src/ecg is imported by a browser then only files.ts would need Node', () => {
  const needing = readdirSync(FOLDER).filter((file) =>
    /from '(node:|\.\/files\.ts)|\b(process|Buffer)\./.test(readFileSync(join(FOLDER, file), 'utf8')),
  );
  expect(needing.sort()).toEqual(['files.ts']);
});

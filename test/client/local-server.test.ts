import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startServer } from '../../src/client/local-server.ts';
import { saveSmallModel, temporaryFolder } from '../cli/helpers.ts';
import { UNWATCHED } from '../helpers/local-server.ts';

const folder = temporaryFolder();
const watch = { ...UNWATCHED, signal: new AbortController().signal };

test('when a model is opened then its plan is there, checked, and before any key is made', async () => {
  const model = await saveSmallModel(join(folder, 'small'), { channels: [4] });
  using server = await startServer({ model, name: 'random-1', threads: 1 }, watch);
  expect(server.manifest).toEqual(server.plan.manifest);
  expect(server.manifest.model.name).toBe('random-1');
  expect(server.openMs).toBeGreaterThan(0);
  expect(server.startMs).toBeGreaterThan(server.openMs);
});

test('when the model has another name than it had then the server is not used', async () => {
  const model = await saveSmallModel(join(folder, 'other'), { channels: [4] });
  await expect(startServer({ model, name: 'mine', threads: 1 }, watch)).rejects.toMatchObject({
    code: 'MISMATCH',
  });
});

test('when a network has no plan then the refusal is that of the same process', async () => {
  const model = await saveSmallModel(join(folder, 'cubic'), { channels: [4], degree: 3 });
  await expect(startServer({ model, name: 'random-1', threads: 1 }, watch)).rejects.toMatchObject({
    code: 'PLAN',
    message: expect.stringMatching(/block 1: its activation has degree 3/),
  });
});

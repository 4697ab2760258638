import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { packingPicture } from '../../tools/packing-picture.ts';

test('when the packing is drawn, then the committed picture shows it as it is', async () => {
  const committed = readFileSync(new URL('../../docs/packing.svg', import.meta.url), 'utf8');
  expect(await packingPicture(), 'run npm run packing-picture and look at docs/packing.svg').toBe(committed);
});

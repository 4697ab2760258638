import { describe, expect, test } from 'vitest';
import { windowsOf } from '../../../src/ckks/wire/reply-layout.ts';

describe('windows of the map', () => {
  test('when positions are windowed, then all are covered and none is beyond the end', () => {
    for (const positions of [1, 2, 16, 25, 32, 64, 128, 256, 2048]) {
      const { windows, width, hop } = windowsOf(positions);
      expect(windows).toBeLessThanOrEqual(25);
      expect(hop * (windows - 1) + width).toBeGreaterThanOrEqual(positions);
      expect(width).toBeGreaterThanOrEqual(hop);
      expect(width).toBeLessThanOrEqual(positions);
    }
    expect(windowsOf(128)).toEqual({ windows: 25, width: 8, hop: 5 });
  });
});

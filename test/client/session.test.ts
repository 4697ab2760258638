import { describe, expect, test, vi } from 'vitest';
import { Client } from '../../src/ckks/client.ts';
import { Session } from '../../src/client/session.ts';
import type { ServerReply, Transport } from '../../src/client/transport.ts';
import { Random } from '../../src/ecg/random.ts';
import { forward } from '../../src/model/forward.ts';
import { serverHere, UNWATCHED } from '../helpers/local-server.ts';
import { randomModel } from '../helpers/random-model.ts';

const model = randomModel({ samples: 256, channels: [4], kernel: 3 });
const random = new Random(1);
const segment = Float32Array.from({ length: 256 }, () => random.normal() / 2);
const watch = { ...UNWATCHED, signal: new AbortController().signal };

describe('Session', () => {
  test('when a segment goes over any transport then its scores are those of the clear model', async () => {
    using server = await serverHere(model);
    const labels: string[] = [];
    const start = (label: string) => {
      labels.push(label);
      return watch.start();
    };
    {
      using session = await Session.open(server.transport, server.manifest, { ...watch, start });
      expect(labels).toEqual(['making keys', 'making evaluation keys', 'loading the keys']);
      expect(Object.keys(session.steps)).toEqual(['keygen', 'upKeys', 'loadKeys']);
      expect([session.steps.loadKeys, session.loadedKeys]).toEqual([3, 4]); // as the server tells
      const stages: number[] = [];
      const onProgress = (done: number) => stages.push(done);
      const { decrypted, steps, layers, threads, peakMemory } = await session.classify(segment, {
        onProgress,
      });
      const { scores } = forward(model, segment);
      decrypted.scores.forEach((s, c) => {
        expect(Math.abs(s - scores[c])).toBeLessThan(1e-2);
      });
      expect(stages).toEqual(server.plan.stages.map((_, i) => i + 1));
      expect(layers.map((layer) => layer.name)).toEqual(server.plan.stages.map((stage) => stage.name));
      expect(steps).toMatchObject({ upRequest: 1, down: 2, encrypt: expect.any(Number) });
      expect([threads, peakMemory]).toEqual([1, undefined]);
    }
    // The transport is its maker's: the session leaves it open.
    expect(server.asked).toEqual(['sendKeys', 'loadKeys', 'infer']);
  });

  test('when it is given up while keys are sent then it ends with the reason', async () => {
    using server = await serverHere(model);
    const controller = new AbortController();
    const reason = new Error('enough');
    const transport = Object.create(server.transport, {
      sendKeys: { value: async () => controller.abort(reason) },
    });
    const opening = Session.open(transport, server.manifest, { ...watch, signal: controller.signal });
    await expect(opening).rejects.toBe(reason);
    expect(server.asked).toEqual([]);
  });

  test('when it is given up while keys are sent then SEAL holds nothing of the secret key', async () => {
    using server = await serverHere(model);
    const opened = vi.spyOn(Client, 'open');
    const reason = new Error('enough');
    const transport = Object.create(server.transport, {
      sendKeys: {
        value: async () => {
          throw reason;
        },
      },
    });
    await expect(Session.open(transport, server.manifest, watch)).rejects.toBe(reason);
    const client: Client = await opened.mock.results[0].value;
    opened.mockRestore();
    expect(client.liveHandles).toBe(0);
  });

  test('when the reply to the segment before comes again then it is refused', async () => {
    using server = await serverHere(model);
    const replies: ServerReply[] = [];
    const transport = Object.create(server.transport, {
      infer: {
        value: async (...args: Parameters<Transport['infer']>) => {
          if (replies.length === 0) replies.push(await server.transport.infer(...args));
          return replies[0];
        },
      },
    });
    using session = await Session.open(transport, server.manifest, watch);
    expect((await session.classify(segment)).decrypted.scores).toHaveLength(4);
    const replayed = session.classify(segment.map((x) => -x));
    await expect(replayed).rejects.toMatchObject({ code: 'MISMATCH' });
    await expect(replayed).rejects.toThrow(/answers request/);
  });

  test('when a segment has another length then the server is not asked', async () => {
    using server = await serverHere(model);
    using session = await Session.open(server.transport, server.manifest, watch);
    await expect(session.classify(segment.subarray(1))).rejects.toMatchObject({ code: 'ECG' });
    expect(server.asked).not.toContain('infer');
  });
});

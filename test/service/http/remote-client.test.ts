import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket, connect as tcp } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { wireSizes } from '../../../src/ckks/wire/file-sizes.ts';
import { RemoteClient } from '../../../src/client/remote-client.ts';
import { BlindbeatError } from '../../../src/errors.ts';
import { forward } from '../../../src/model/forward.ts';
import { TokenFile } from '../../../src/service/tokens.ts';
import type { EvaluatorsHere } from '../../helpers/evaluators-here.ts';
import { MemoryKeys } from '../../helpers/memory-keys.ts';
import { MODEL, openEvaluators, startService, temporaryFolder } from './helpers.ts';

const segment = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i / 5));
const { scores } = forward(MODEL, segment);
const patience = { backoffMs: 20, giveUpMs: 5000 };
let evaluators: EvaluatorsHere;
const tokenFolder = temporaryFolder();

beforeAll(async () => {
  evaluators = await openEvaluators();
});

afterAll(() => evaluators[Symbol.asyncDispose]());

function expectRight(decrypted: { scores: number[] }): void {
  expect(decrypted.scores).toHaveLength(scores.length);
  decrypted.scores.forEach((s, c) => {
    expect(Math.abs(s - scores[c])).toBeLessThan(1e-2);
  });
}

/** A way to the service on which, after so many bytes in all, the connection that carries the last is cut. */
async function cutting(port: number, after: number[]): Promise<string> {
  const sockets = new Set<Socket>();
  let total = 0;
  const server = createServer((near) => {
    const far = tcp(port, '127.0.0.1');
    for (const socket of [near, far]) sockets.add(socket.on('error', () => {}));
    near.on('data', (piece) => {
      if (near.isPaused()) return;
      total += piece.length;
      far.write(piece);
      if (total < (after[0] ?? Number.POSITIVE_INFINITY)) return;
      after.shift();
      near.pause();
      setTimeout(() => near.destroy(), 100); // what was sent arrives
    });
    far.on('data', (piece) => near.write(piece));
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('the client and the service', () => {
  test('when a segment is classified then keys go up once, and one POST brings the scores', async () => {
    await using service = await startService(evaluators);
    const keys = new MemoryKeys();
    for (const sent of [wireSizes(service.manifest).evaluationKeys, 0]) {
      using client = await RemoteClient.connect(service.url, { keys, patience });
      expect(client.sentKeyBytes).toBe(sent);
      const trip = await client.classify(segment);
      expectRight(trip.decrypted);
      expect(trip.steps.server).toBeGreaterThan(0);
      expect(trip.queueMs).toBeGreaterThanOrEqual(0);
    }
    expect(keys.made).toBe(1);
  });

  test('when connections are cut in the middle of the keys then only what is missing is sent again', async () => {
    await using service = await startService(evaluators);
    const after = [700_000, 1_500_000];
    const url = await cutting(service.port, after);
    using client = await RemoteClient.connect(url, { keys: new MemoryKeys(), patience });
    expectRight((await client.classify(segment)).decrypted);
    expect(client.sentKeyBytes).toBeLessThan(wireSizes(service.manifest).evaluationKeys);
    expect(after).toEqual([]);
  });

  test('when the keys are deleted behind its back then the client sends them again', async () => {
    await using service = await startService(evaluators);
    const keys = new MemoryKeys();
    using client = await RemoteClient.connect(service.url, { keys, patience });
    const { hash } = (await keys.load())!.evaluationKeys;
    await fetch(`${service.url}/v1/keys/${hash}`, { method: 'DELETE' });
    expectRight((await client.classify(segment)).decrypted);
  });

  test('when it deletes its keys then the service has them no more', async () => {
    await using service = await startService(evaluators);
    const keys = new MemoryKeys();
    using client = await RemoteClient.connect(service.url, { keys, patience });
    const { hash } = (await keys.load())!.evaluationKeys;
    await client.deleteKeys();
    expect((await fetch(`${service.url}/v1/keys/${hash}?model=${MODEL.name}`)).status).toBe(404);
  });

  test('when tokens are wanted then the client is let in with its own, and its keys are its own', async () => {
    const tokens = new TokenFile(join(tokenFolder, 'tokens.json'));
    const { text: mine } = await tokens.create('mine', ['infer', 'keys'], null);
    const { text: other } = await tokens.create('other', ['infer', 'keys'], null);
    await using service = await startService(evaluators, { tokens });
    const keys = new MemoryKeys();
    await expect(RemoteClient.connect(service.url, { keys, patience })).rejects.toMatchObject({
      code: 'UNAUTHORISED',
    });
    using client = await RemoteClient.connect(service.url, { keys, patience, token: mine });
    expectRight((await client.classify(segment)).decrypted);
    // Another's are not there for this one: it sends its own.
    using second = await RemoteClient.connect(service.url, { keys, patience, token: other });
    expect(second.sentKeyBytes).toBe(wireSizes(service.manifest).evaluationKeys);
  });

  test('when the service is busy then the client waits', async () => {
    await using service = await startService(evaluators);
    const waits: string[] = [];
    const onRetry = ({ code }: BlindbeatError) => waits.push(code);
    using client = await RemoteClient.connect(service.url, { keys: new MemoryKeys(), patience, onRetry });
    evaluators.next = async () => {
      throw new BlindbeatError('BUSY', 'too many requests wait');
    };
    expectRight((await client.classify(segment)).decrypted);
    expect(waits).toEqual(['BUSY']);
  });

  test('when it is audited then a model of the service answers right', async () => {
    await using service = await startService(evaluators);
    using client = await RemoteClient.connect(service.url, { keys: new MemoryKeys(), patience, audit: 1 });
    expect(await client.classify(segment)).toMatchObject({ audited: true });
    expect(service.lines.filter(({ method }) => method === 'POST')).toHaveLength(2);
  });
});

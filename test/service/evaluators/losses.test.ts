import { expect, test } from 'vitest';
import { Losses } from '../../../src/service/evaluators/losses.ts';

test('when a request has ended two workers, then it is refused by name until enough time has passed', () => {
  let now = 0;
  const losses = new Losses(120_000, () => now);
  const request = 'abcdef0123456789';
  losses.add(request, false);
  losses.add('another', false);
  expect(losses.refusal(request)).toBeNull();
  now = 60_000;
  losses.add(request, false);
  now = 60_001;
  const refusal = losses.refusal(request);
  expect(refusal).toMatchObject({ code: 'POISON' });
  expect(refusal!.message).toMatch(
    /request abcdef012345 ended 2 evaluators and is not tried again for 2 min/,
  );
  expect(losses.refusal('another')).toBeNull();
  now = 180_000;
  expect(losses.refusal(request)).toBeNull();
  losses.add(request, false);
  expect(losses.refusal(request)).toBeNull(); // counted anew
});

test('when a request was answered, then what it lost before does not count', () => {
  const losses = new Losses(1000, () => 0);
  losses.add('a', false);
  losses.clear('a');
  losses.add('a', false);
  expect(losses.refusal('a')).toBeNull();
});

test('when workers are killed from outside, then a request may lose more of them, but not without end', () => {
  const losses = new Losses(1000, () => 0);
  for (let k = 0; k < 4; k++) losses.add('a', true);
  expect(losses.refusal('a')).toBeNull();
  losses.add('a', true);
  expect(losses.refusal('a')).toMatchObject({ message: expect.stringContaining('ended 5 evaluators') });
  for (const killed of [true, false, true]) losses.add('b', killed);
  expect(losses.refusal('b')).toBeNull();
  losses.add('b', false);
  expect(losses.refusal('b')).toMatchObject({ code: 'POISON' });
});

test('when very many requests end workers, then the oldest are forgotten', () => {
  const losses = new Losses(1000, () => 0);
  const twice = (request: string) => {
    losses.add(request, false);
    losses.add(request, false);
  };
  for (let k = 0; k < 10_001; k++) twice(String(k));
  expect(losses.refusal('0')).toBeNull();
  for (const k of [1, 10_000]) expect(losses.refusal(String(k))).toMatchObject({ code: 'POISON' });
});

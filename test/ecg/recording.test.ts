import { describe, expect, test } from 'vitest';
import { selectLead } from '../../src/ecg/recording.ts';

const recording = {
  name: 'r1',
  rate: 300,
  leads: ['II', 'V1', '1'].map((name) => ({ name, mv: new Float64Array(1) })),
};

describe('selectLead', () => {
  test('when a lead is named in any case, or counted from 1, then it is found; a name goes before a number', () => {
    expect(selectLead(recording).name).toBe('1');
    expect(selectLead(recording, 'v1').name).toBe('V1');
    expect(selectLead(recording, '2').name).toBe('V1');
    expect(selectLead({ ...recording, leads: recording.leads.slice(0, 2) }).name).toBe('II');
  });

  test('when there is no such lead then the leads that there are are listed', () => {
    for (const lead of ['V9', 0, 4, '1.5', '']) {
      expect(() => selectLead(recording, lead)).toThrow(`r1 has no lead "${lead}". It has: 1 II, 2 V1, 3 1.`);
    }
  });

  test('when a lead has a name that a terminal would obey then it is listed without', () => {
    const odd = { ...recording, leads: [{ ...recording.leads[0], name: '\u001b[2J' }] };
    expect(() => selectLead(odd, '\u202eX')).toThrow('has no lead "\\u{202e}X". It has: 1 \\u{1b}[2J.');
  });
});

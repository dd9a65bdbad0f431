import { describe, expect, test } from 'vitest';
import { DAY, HOUR, MINUTE, WEEK, Zone } from '../src/time/zone';

const berlin = new Zone('Europe/Berlin');
const at = (text: string): number => Date.parse(text);
const wall = (text: string) => {
  const [year, month, day, hour, minute, second] = text.split(/\D/).map(Number) as [number, number, number, number, number, number];
  return { year, month, day, hour, minute, second };
};

describe('offset', () => {
  test.each([
    ['Europe/Berlin', '2026-11-24T06:15:03Z', 1],
    ['Europe/Berlin', '2026-07-01T00:00:00Z', 2],
    ['America/New_York', '2026-11-24T06:15:03Z', -5],
    ['Asia/Kolkata', '2026-11-24T06:15:03Z', 5.5],
    ['Asia/Kathmandu', '2026-11-24T06:15:03Z', 5.75],
    ['Pacific/Kiritimati', '2026-11-24T06:15:03Z', 14],
    ['UTC', '2026-11-24T06:15:03Z', 0],
  ])('%s at %s is %d h', (zone, text, hours) => {
    expect(new Zone(zone).offset(at(text))).toBe(hours * HOUR);
  });

  test('changes on the instant that the clocks do', () => {
    expect(berlin.offset(at('2026-03-29T00:59:59.999Z'))).toBe(HOUR);
    expect(berlin.offset(at('2026-03-29T01:00:00Z'))).toBe(2 * HOUR);
    expect(berlin.offset(at('2026-10-25T00:59:59.999Z'))).toBe(2 * HOUR);
    expect(berlin.offset(at('2026-10-25T01:00:00Z'))).toBe(HOUR);
  });

  test('midnight is hour 0', () => {
    expect(berlin.wall(at('2026-11-23T23:00:00Z'))).toEqual(wall('2026-11-24T00:00:00'));
  });
});

describe('instants', () => {
  test('a usual reading has one', () => {
    expect(berlin.instants(wall('2026-11-24T07:15:03'))).toEqual({ kind: 'one', at: at('2026-11-24T06:15:03Z') });
  });

  test('the hour that comes twice has two, in order', () => {
    expect(berlin.instants(wall('2026-10-25T02:30:00'))).toEqual({
      kind: 'two',
      first: at('2026-10-25T00:30:00Z'),
      second: at('2026-10-25T01:30:00Z'),
    });
  });

  test('the borders of that hour', () => {
    expect(berlin.instants(wall('2026-10-25T01:59:59')).kind).toBe('one');
    expect(berlin.instants(wall('2026-10-25T02:00:00')).kind).toBe('two');
    expect(berlin.instants(wall('2026-10-25T02:59:59')).kind).toBe('two');
    expect(berlin.instants(wall('2026-10-25T03:00:00')).kind).toBe('one');
  });

  test('the hour that is left out has none, and stands for the hour after', () => {
    const found = berlin.instants(wall('2026-03-29T02:30:00'));
    expect(found).toEqual({ kind: 'none', at: at('2026-03-29T01:30:00Z') });
    expect(berlin.wall(at('2026-03-29T01:30:00Z')).hour).toBe(3);
  });

  test('half an hour is changed on Lord Howe', () => {
    const howe = new Zone('Australia/Lord_Howe');
    expect(howe.instants(wall('2026-04-05T01:45:00')).kind).toBe('two');
    expect(howe.instants(wall('2026-10-04T02:15:00')).kind).toBe('none');
  });

  test.each(['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata', 'America/St_Johns', 'Africa/Casablanca'])(
    'in %s every instant of a year is among those of its own reading',
    (name) => {
      const zone = new Zone(name);
      for (let instant = at('2026-01-01T00:00:00Z'); instant < at('2027-01-01T00:00:00Z'); instant += 97 * MINUTE) {
        const found = zone.instants(zone.wall(instant));
        const all = found.kind === 'one' ? [found.at] : found.kind === 'two' ? [found.first, found.second] : [];
        expect(all).toContain(instant);
      }
    },
  );
});

describe('next', () => {
  const clock = (zone: Zone, instant: number): string => {
    const { hour, minute } = zone.wall(instant);
    return `${hour}:${String(minute).padStart(2, '0')}`;
  };
  const walk = (zone: Zone, from: string, step: number, count: number): string[] => {
    const found = [];
    for (let instant = at(from), index = 0; index < count; index += 1) {
      instant = zone.next(instant, step);
      found.push(clock(zone, instant));
    }
    return found;
  };

  test('hours, over the night the clocks go forward', () => {
    expect(walk(berlin, '2026-03-28T23:30:00Z', HOUR, 4)).toEqual(['1:00', '3:00', '4:00', '5:00']);
  });

  test('hours, over the night the clocks go back: 2:00 twice', () => {
    expect(walk(berlin, '2026-10-24T22:30:00Z', HOUR, 4)).toEqual(['1:00', '2:00', '2:00', '3:00']);
  });

  test('three hours stay on threes', () => {
    expect(walk(berlin, '2026-03-28T22:30:00Z', 3 * HOUR, 4)).toEqual(['0:00', '3:00', '6:00', '9:00']);
    expect(walk(berlin, '2026-10-24T21:30:00Z', 3 * HOUR, 4)).toEqual(['0:00', '3:00', '6:00', '9:00']);
  });

  test('days begin at midnight, whatever their length', () => {
    expect(walk(berlin, '2026-10-23T12:00:00Z', DAY, 5)).toEqual(Array(5).fill('0:00'));
    expect(walk(new Zone('America/New_York'), '2026-03-06T12:00:00Z', DAY, 5)).toEqual(Array(5).fill('0:00'));
  });

  test('weeks begin on Monday', () => {
    const monday = berlin.next(at('2026-11-24T06:00:00Z'), WEEK);
    expect(berlin.wall(monday)).toEqual(wall('2026-11-30T00:00:00'));
  });

  test('minutes in a zone of odd quarters', () => {
    expect(walk(new Zone('Asia/Kathmandu'), '2026-11-24T06:01:00Z', 30 * MINUTE, 2)).toEqual(['12:00', '12:30']);
  });

  test.each(['Europe/Berlin', 'Australia/Lord_Howe', 'America/St_Johns', 'Asia/Kolkata'])('in %s it always goes on', (name) => {
    const zone = new Zone(name);
    for (const step of [MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 12 * HOUR, DAY, WEEK]) {
      for (let instant = at('2026-03-20T00:00:00Z'); instant < at('2026-04-10T00:00:00Z'); instant += 47 * MINUTE) {
        const next = zone.next(instant, step);
        expect(next).toBeGreaterThan(instant);
        expect(next - instant).toBeLessThanOrEqual(step + 2 * HOUR);
      }
    }
  });
});

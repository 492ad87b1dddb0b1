--[[ The ledger in Redis: a group of changes, one after the other, as one atomic step.

Data model. Every key begins with KEYS[1].

  row:<queue_id>  hash  one request. What was asked: request (JSON, opaque here), body (until the outcome is stored),
                        lane, priority, fingerprint, topic ('1': it can be called back), accepted_at, expires_at.
                        Where it stands: place, state, reply, outcome, event, held, cancelled, attempt, tries, boot,
                        line, ready_at, leased_at, answered_at, published_at (absent or '' where not reached)
  rows            zset  place         -> every row, for people
  open:<lane>     zset  place         -> rows of the lane that are not published
  line:<lane>     zset  priority, place -> rows that a judge may have now
  closer          zset  place         -> rows of all lanes that need no judge and may be closed now
  due             zset  moment        -> rows to be looked at then: the end of a delay or a lease for who is in no line,
                                         the end of its life for who is in the line of a judge
  published       zset  published_at  -> rows to be forgotten after the retention
  counts          hash  <state>:<lane> -> open rows in that state
  meta            hash  place: the last one given. max_tries: the rule by which rows stand in their lines. checked_at:
                                         a readiness check wrote then
  news            channel: <sender> <'1' if a line is not empty any more> <next moment of `due`>

`ready_at` is the promise (nobody may lease the row before); `line` and `due` follow from it. `held` says that the lease
(place, attempt) may write: it does not end with the lease's time, but with the next lease.

Scores are doubles: a place stays below 2^49 (it begins at the moment, in 10 us since 2020), so that ten priorities and
a place fit into 2^53. Moments are written with all their digits and come back exactly. A script that has begun is never
interrupted, so each looks at no more than MOST rows that were not asked for; whoever wants more asks again. Only
`recount` looks at all open rows of a lane (measured: 0.8 s for 100,000), once after Redis threw some away.

ARGV: now ('' is Redis's own clock), sender, boot, limit, max_tries, retention, then for each change its kind, the
number of its arguments, and these. Answers {a table for each change, {now, stirred, next moment of due, counts}}.
]]

local PREFIX = KEYS[1]
local SENDER, BOOT = ARGV[2], ARGV[3]
local LIMIT, MAX_TRIES, RETENTION = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local ROWS, CLOSER, DUE = PREFIX .. 'rows', PREFIX .. 'closer', PREFIX .. 'due'
local PUBLISHED, COUNTS, META = PREFIX .. 'published', PREFIX .. 'counts', PREFIX .. 'meta'
local MOST = 500
local BEGINNING = 1577836800 -- 2020

local call = redis.call
local time = call('TIME')
local now = tonumber(ARGV[1]) or (time[1] + time[2] / 1e6)
local stirred, edge, filed, looked = false, false, false, {}

-- A number in an answer. Numbers given to redis.call need none of this: it writes all their digits.
local function text(value)
  return value and string.format('%.17g', value)
end

local function key_of(id)
  return PREFIX .. 'row:' .. id
end

-- Open rows per lane, read once and written once for all changes. A Redis that evicts may throw away a row, or any of
-- the lists it stands in; what is left of it is cleared away when somebody comes upon it.

local counts, moved, torn = {}, {}, {}

local function strike(lane, id)
  call('ZREM', PREFIX .. 'line:' .. lane, id)
  return call('ZREM', PREFIX .. 'open:' .. lane, id) == 1
end

local function strike_everywhere(id)
  for _, key in ipairs({ROWS, CLOSER, DUE, PUBLISHED}) do
    call('ZREM', key, id)
  end
  for lane in pairs(counts) do
    torn[lane] = strike(lane, id) or torn[lane]
  end
end

local function recount(lane)
  local of = {queued = 0, leased = 0, answered = 0}
  for _, id in ipairs(call('ZRANGE', PREFIX .. 'open:' .. lane, 0, -1)) do
    local state = call('HGET', key_of(id), 'state')
    if not state then
      strike(lane, id)
      strike_everywhere(id)
    elseif of[state] then
      of[state] = of[state] + 1
    end
  end
  counts[lane], moved[lane], torn[lane] = of, true, nil
end

local function counts_of(lane)
  if not counts[lane] then
    counts[lane] = {queued = 0, leased = 0, answered = 0}
    if call('EXISTS', PREFIX .. 'open:' .. lane) == 1 then
      recount(lane)
    end
  end
  return counts[lane]
end

local function count(lane, state, by)
  local of = counts_of(lane)
  if of[state] then
    of[state] = of[state] + by
    moved[lane] = true
  end
end

local function read_counts()
  local flat = call('HGETALL', COUNTS)
  for at = 1, #flat, 2 do
    local state, lane = string.match(flat[at], '^(%a+):(.*)$')
    counts[lane] = counts[lane] or {queued = 0, leased = 0, answered = 0}
    counts[lane][state] = tonumber(flat[at + 1])
  end
end

local function write_counts()
  for lane in pairs(counts) do
    if torn[lane] then
      recount(lane)
    end
  end
  for lane in pairs(moved) do
    local of = counts[lane]
    if of.queued + of.leased + of.answered > 0 then
      call('HSET', COUNTS, 'queued:' .. lane, of.queued, 'leased:' .. lane, of.leased,
        'answered:' .. lane, of.answered)
    else
      call('HDEL', COUNTS, 'queued:' .. lane, 'leased:' .. lane, 'answered:' .. lane)
      counts[lane] = nil
    end
  end
end

-- A row, and where it belongs.

local FIELDS = {'place', 'lane', 'priority', 'topic', 'state', 'reply', 'outcome', 'held', 'cancelled', 'attempt',
  'tries', 'line', 'expires_at', 'ready_at', 'published_at'}
local WHOLE = {'request', 'body', 'event', 'accepted_at', unpack(FIELDS)}
local ENTRY = {'request', 'lane', 'priority', 'state', 'reply', 'place', 'attempt', 'tries', 'cancelled', 'outcome', 'accepted_at',
  'ready_at', 'expires_at', 'leased_at', 'answered_at', 'published_at'}

local function load(id, fields)
  fields = fields or FIELDS
  local values = call('HMGET', key_of(id), unpack(fields))
  if not values[1] then
    return nil
  end
  local row = {id = id}
  for at = 1, #fields do
    row[fields[at]] = values[at] or ''
  end
  row.priority, row.attempt, row.tries = tonumber(row.priority), tonumber(row.attempt), tonumber(row.tries)
  row.expires_at, row.ready_at = tonumber(row.expires_at), tonumber(row.ready_at)
  row.published_at = tonumber(row.published_at)
  return row
end

local function ending_of(row)
  if row.outcome ~= '' then
    return ''
  elseif row.cancelled ~= '' then
    return 'cancelled'
  elseif row.expires_at <= now then
    return 'expired'
  end
  return row.tries >= MAX_TRIES and 'exhausted' or ''
end

local function needs_no_judge(row)
  return row.outcome ~= '' or ending_of(row) ~= ''
end

local function is_past(row)
  return row.published_at and row.published_at <= now - RETENTION
end

local function line_of(row)
  if row.state == 'published' or row.ready_at > now then
    return ''
  end
  return needs_no_judge(row) and 'closer' or 'judge'
end

local function due_at(row)
  if row.state == nil or row.state == 'published' or row.line == 'closer' then
    return nil
  end
  return row.line == 'judge' and row.expires_at or row.ready_at
end

local function join(row)
  local key, score = CLOSER, row.place
  if row.line == 'judge' then
    key, score = PREFIX .. 'line:' .. row.lane, (9 - row.priority) * 2 ^ 49 + row.place
  end
  if not looked[key] then -- whoever found it empty waits for news; nobody else does
    looked[key] = true
    edge = edge or call('ZCARD', key) == 0
  end
  if call('ZADD', key, score, row.id) == 1 then
    stirred = true
  end
end

local function leave(row)
  call('ZREM', row.line == 'judge' and PREFIX .. 'line:' .. row.lane or CLOSER, row.id)
end

-- Write `values` into the row and bring it to where it now belongs.
local function settle(row, values)
  local before, due_before = row.state, due_at(row)
  for field, value in pairs(values) do
    if field ~= 'line' then
      row[field] = value
    end
  end
  local line = line_of(row)
  if line ~= row.line then
    if row.line ~= '' then
      leave(row)
    end
    row.line, values.line = line, line
    if line ~= '' then
      join(row)
    end
  end
  local due = due_at(row)
  if due and due ~= due_before then
    call('ZADD', DUE, due, row.id)
  elseif due_before and not due then
    call('ZREM', DUE, row.id)
  end
  if row.state ~= before then
    count(row.lane, before, -1)
    count(row.lane, row.state, 1)
    if row.state == 'published' then
      call('ZREM', PREFIX .. 'open:' .. row.lane, row.id)
      call('ZADD', PUBLISHED, row.published_at, row.id)
    end
  end
  local flat, size = {}, 0
  for field, value in pairs(values) do
    flat[size + 1], flat[size + 2] = field, value
    size = size + 2
  end
  if size > 0 then
    call('HSET', key_of(row.id), unpack(flat))
  end
end

-- Bring a row back into lists that were thrown away. Who repeats a request may rely on it.
local function restore(row)
  if row.state == 'published' then
    return
  end
  call('ZADD', ROWS, row.place, row.id)
  if call('ZADD', PREFIX .. 'open:' .. row.lane, row.place, row.id) == 1 then
    torn[row.lane] = true
  end
  if row.line ~= '' then
    join(row)
  end
  local due = due_at(row)
  if due then
    call('ZADD', DUE, due, row.id)
  end
end

local function forget(row)
  call('DEL', key_of(row.id))
  call('ZREM', ROWS, row.id)
  call('ZREM', PUBLISHED, row.id)
end

local function entry_of(id)
  return {id, unpack(call('HMGET', key_of(id), unpack(ENTRY)))}
end

-- The changes, by kind. Each answers a table; its first word is 'ok' where there is something else to say.
local changes = {}

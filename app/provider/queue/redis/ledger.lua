--[[ The ledger in Redis: a group of changes, one after the other, as one atomic step.

Data model. Every key begins with KEYS[1], which holds a hash tag, so that a cluster keeps them in one slot.

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
  meta            hash  place: the last one given. max_tries: the rule by which rows stand in their lines
  news            channel: <sender> <'1' if a line is not empty any more> <next moment of `due`>

`ready_at` is the promise (nobody may lease the row before); `line` and `due` follow from it. `held` says that the lease
(place, attempt) may write: it does not end with the lease's time, but with the next lease.

Scores are doubles: a place stays below 2^49 (it begins at the moment, in 10 us since 2020), so that ten priorities and
a place fit into 2^53. Moments are written with 17 digits and come back exactly. A script that has begun is never
interrupted, so each looks at no more than MOST rows that were not asked for; whoever wants more asks again.

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

local function text(value)
  return type(value) == 'number' and string.format('%.17g', value) or value
end

-- Open rows per lane, read once and written once for all changes.

local counts, moved = {}, {}

local function counts_of(lane)
  counts[lane] = counts[lane] or {queued = 0, leased = 0, answered = 0}
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
    counts_of(lane)[state] = tonumber(flat[at + 1])
  end
end

local function write_counts()
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
local NUMBERS = {'priority', 'attempt', 'tries', 'expires_at', 'ready_at', 'published_at'}
local WHOLE = {'request', 'body', 'event', 'accepted_at', unpack(FIELDS)}
local ENTRY = {'request', 'lane', 'priority', 'state', 'reply', 'place', 'attempt', 'tries', 'cancelled', 'outcome', 'accepted_at',
  'ready_at', 'expires_at', 'leased_at', 'answered_at', 'published_at'}

local function key_of(id)
  return PREFIX .. 'row:' .. id
end

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
  for at = 1, #NUMBERS do
    row[NUMBERS[at]] = tonumber(row[NUMBERS[at]])
  end
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
  call('ZADD', key, text(score), row.id)
  stirred = true
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
    call('ZADD', DUE, text(due), row.id)
  elseif due_before and not due then
    call('ZREM', DUE, row.id)
  end
  if row.state ~= before then
    count(row.lane, before, -1)
    count(row.lane, row.state, 1)
    if row.state == 'published' then
      call('ZREM', PREFIX .. 'open:' .. row.lane, row.id)
      call('ZADD', PUBLISHED, text(row.published_at), row.id)
    end
  end
  local flat = {}
  for field, value in pairs(values) do
    flat[#flat + 1] = field
    flat[#flat + 1] = text(value)
  end
  if #flat > 0 then
    call('HSET', key_of(row.id), unpack(flat))
  end
end

local function forget(row)
  call('DEL', key_of(row.id))
  call('ZREM', ROWS, row.id)
  call('ZREM', PUBLISHED, row.id)
end

-- The row that this lease may write to.
local function held(id, place, attempt)
  local row = load(id)
  if row and row.held ~= '' and row.place == place and row.attempt == tonumber(attempt) then
    return row
  end
  return nil
end

-- Bring rows whose delay, lease or life has run out to where they belong; once is enough, as time stands still here.
local function file_due()
  if filed then
    return
  end
  filed = true
  local ids = call('ZRANGEBYSCORE', DUE, '-inf', text(now), 'LIMIT', 0, MOST)
  for _, id in ipairs(ids) do
    local row = load(id)
    if row then
      settle(row, {})
    else
      call('ZREM', DUE, id)
    end
  end
  stirred = stirred or #ids == MOST
end

-- Lease a row. One that is still held was left by a worker that died, and so was whoever waited on it.
local function take(row, seconds, begin)
  local ending = ending_of(row)
  local values = {
    held = '1', boot = BOOT, leased_at = now, ready_at = now + seconds,
    attempt = row.attempt + 1, tries = row.tries + begin,
  }
  if row.state == 'queued' then
    values.state = 'leased'
  end
  if row.held ~= '' and row.topic ~= '' then
    values.reply = 'callback'
  end
  settle(row, values)
  return {row.id, row.lane, row.priority, row.place, row.attempt, row.tries, row.reply, row.accepted_at,
    row.outcome, row.event, ending, row.request, row.body}
end

local function take_first(key, limit, seconds, begin)
  file_due()
  local leases = {}
  for _, id in ipairs(limit > 0 and call('ZRANGE', key, 0, limit - 1) or {}) do
    local row = load(id, WHOLE)
    if not row then
      call('ZREM', key, id)
    elseif key ~= CLOSER and needs_no_judge(row) then
      settle(row, {}) -- there were more than MOST to file
    else
      leases[#leases + 1] = take(row, seconds, begin)
    end
  end
  return leases
end

local function next_place()
  local place = call('HINCRBY', META, 'place', 1)
  if place == 1 then -- nothing was stored, or all of it was lost: go on above whatever was given before
    place = math.floor((time[1] - BEGINNING) * 1e5 + time[2] / 10)
    call('HSET', META, 'place', text(place))
  end
  return text(place)
end

-- The changes. Each answers a table; its first word is 'ok' where there is something else to say.

local changes = {}

function changes.accept(id, lane, priority, fingerprint, topic, request, body, expires_in, lease_for)
  local row = load(id)
  if row and not is_past(row) then
    local found = call('HMGET', key_of(id), 'fingerprint', 'event')
    if found[1] ~= fingerprint then
      return {'mismatch'}
    end
    return {'known', row.state, row.reply, row.outcome, found[2]}
  end
  local of = counts_of(lane)
  if of.queued + of.leased + of.answered >= LIMIT then
    return {'full'}
  end
  if row then
    forget(row)
  end
  local place = next_place()
  local values = {
    place = place, lane = lane, priority = tonumber(priority), fingerprint = fingerprint, topic = topic,
    request = request, body = body, accepted_at = now, expires_at = now + expires_in,
    state = 'queued', reply = 'callback', attempt = 0, tries = 0, ready_at = now,
  }
  if lease_for ~= '' then
    values.state, values.reply, values.held, values.boot = 'leased', 'response', '1', BOOT
    values.attempt, values.tries, values.leased_at, values.ready_at = 1, 1, now, now + lease_for
  end
  call('ZADD', ROWS, place, id)
  call('ZADD', PREFIX .. 'open:' .. lane, place, id)
  settle({id = id, line = '', outcome = '', cancelled = ''}, values)
  return {'new', place, text(now)}
end

function changes.lease(lane, limit, seconds, begin)
  return take_first(PREFIX .. 'line:' .. lane, tonumber(limit), tonumber(seconds), tonumber(begin))
end

function changes.lease_closing(limit, seconds)
  return take_first(CLOSER, tonumber(limit), tonumber(seconds), 0)
end

function changes.begin_try(id, place, attempt)
  local row = held(id, place, attempt)
  if not row or row.state ~= 'leased' then
    return {'lost'}
  end
  settle(row, {tries = row.tries + 1})
  return {'ok', text(row.tries)}
end

function changes.extend(id, place, attempt, seconds)
  local row = held(id, place, attempt)
  if not row then
    return {'lost'}
  end
  settle(row, {ready_at = now + seconds})
  return {'ok'}
end

function changes.store(id, place, attempt, outcome, event)
  local row = held(id, place, attempt)
  if not row then
    return {'lost'}
  elseif row.outcome ~= '' then
    return {'ok', row.reply, row.outcome, call('HGET', key_of(id), 'event')}
  end
  local values = {outcome = outcome, event = event, body = '', answered_at = now, state = 'answered'}
  if row.reply == 'response' then
    values.state, values.held, values.published_at = 'published', '', now
  end
  settle(row, values)
  return {'ok', row.reply}
end

function changes.mark_published(id, place, attempt)
  local row = held(id, place, attempt)
  if not row or row.state ~= 'answered' then
    return {'lost'}
  end
  settle(row, {state = 'published', held = '', published_at = now})
  return {'ok'}
end

-- A delay does not outlast the life of a request: its asker hears of the end in time.
function changes.release(id, place, attempt, after, untried)
  local row = held(id, place, attempt)
  if not row then
    return {'lost'}
  end
  local values = {held = '', ready_at = now + after}
  if row.state == 'leased' then
    values.state = 'queued'
    if untried ~= '' then
      values.tries = math.max(0, row.tries - 1)
    end
    if row.expires_at > now then
      values.ready_at = math.min(values.ready_at, row.expires_at)
    end
  end
  settle(row, values)
  stirred = true
  return {'ok'}
end

function changes.promise_callback(id)
  local row = load(id)
  if not row then
    return {'unknown'}
  elseif row.reply == 'response' and row.state == 'published' then
    return {'ok', row.outcome, call('HGET', key_of(id), 'event')}
  elseif row.reply == 'response' then
    settle(row, {reply = 'callback'})
  end
  return {'ok'}
end

local function entry_of(id)
  return {id, unpack(call('HMGET', key_of(id), unpack(ENTRY)))}
end

function changes.cancel(id)
  local row = load(id)
  if not row then
    return {'unknown'}
  end
  if row.outcome == '' and row.cancelled == '' then
    settle(row, {cancelled = '1', ready_at = row.held ~= '' and row.ready_at or math.min(row.ready_at, now)})
    stirred = true
  end
  return {'ok', entry_of(id)}
end

-- For people, and for the start.

function changes.find(id)
  local entry = entry_of(id)
  return entry[2] and {entry} or {}
end

-- Rows behind a place, of all lanes or the open ones of one: {'' or the place to go on behind, entries ...}.
function changes.browse(open, lane, state, after, limit)
  local key = open ~= '' and PREFIX .. 'open:' .. lane or ROWS
  local ids = call('ZRANGEBYSCORE', key, '(' .. after, '+inf', 'LIMIT', 0, MOST)
  local found = {''}
  for at, id in ipairs(ids) do
    local row = call('HMGET', key_of(id), 'lane', 'state', 'place')
    if (lane == '' or row[1] == lane) and (state == '' or row[2] == state) then
      found[#found + 1] = entry_of(id)
    end
    if #found > tonumber(limit) then
      break
    end
    if at == MOST then
      found[1] = row[3]
    end
  end
  return found
end

function changes.stats()
  local oldest = {}
  for lane in pairs(counts) do
    local first = call('ZRANGE', PREFIX .. 'open:' .. lane, 0, 0)[1]
    if first then
      oldest[#oldest + 1] = {lane, call('HGET', key_of(first), 'accepted_at')}
    end
  end
  return oldest
end

-- What `recent_starts` needs of some rows: {how many were looked at, {place, lane, tries, leased_at, answered_at} ...}.
function changes.starts(lane, horizon, skipped)
  local key = lane ~= '' and PREFIX .. 'open:' .. lane or PUBLISHED
  local ids = call('ZRANGEBYSCORE', key, lane ~= '' and '-inf' or '(' .. horizon, '+inf', 'LIMIT', skipped, MOST)
  local found = {tostring(#ids)}
  for _, id in ipairs(ids) do
    local row = call('HMGET', key_of(id), 'place', 'lane', 'tries', 'leased_at', 'answered_at')
    if row[3] ~= '0' and row[4] then
      found[#found + 1] = row
    end
  end
  return found
end

-- Some rows of a lane by the rules of who opens: {'' or the place to go on behind}.
function changes.open(lane, after, exclusive)
  local ids = call('ZRANGEBYSCORE', PREFIX .. 'open:' .. lane, '(' .. after, '+inf', 'LIMIT', 0, MOST)
  local last = ''
  for at, id in ipairs(ids) do
    local row = load(id)
    local theirs = exclusive ~= '' and row.held ~= '' and call('HGET', key_of(id), 'boot') ~= BOOT
    settle(row, theirs and row.ready_at > now and {ready_at = now} or {})
    last = at == MOST and row.place or ''
  end
  return {last}
end

-- {'1' if rows stand in their lines by another `max_tries`}; the caller sees to that.
function changes.rules()
  local before = call('HGET', META, 'max_tries')
  call('HSET', META, 'max_tries', MAX_TRIES)
  return {before and tonumber(before) ~= MAX_TRIES and '1' or ''}
end

function changes.purge()
  local ids = call('ZRANGEBYSCORE', PUBLISHED, '-inf', text(now - RETENTION), 'LIMIT', 0, MOST)
  for _, id in ipairs(ids) do
    forget({id = id})
  end
  return {tostring(#ids), #ids == MOST and '1' or ''}
end

function changes.check()
  call('HSET', META, 'checked_at', text(now))
  return {'ok'}
end

-- The group.

local function next_due()
  return tonumber(call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2])
end

read_counts()
local due_before = next_due()
local answers = {}
local at = 7
while at <= #ARGV do
  local size = tonumber(ARGV[at + 1])
  answers[#answers + 1] = changes[ARGV[at]](unpack(ARGV, at + 2, at + 1 + size))
  at = at + 2 + size
end
write_counts()

local due = next_due()
if edge or (due and (not due_before or due < due_before)) then
  call('PUBLISH', PREFIX .. 'news', SENDER .. ' ' .. (edge and '1' or '') .. ' ' .. (text(due) or ''))
end
local told = {text(now), stirred and '1' or '', text(due) or ''}
for lane, of in pairs(counts) do
  told[#told + 1] = lane
  told[#told + 1] = of.queued
  told[#told + 1] = of.leased
  told[#told + 1] = of.answered
end
return {answers, told}

-- The changes that come by lease, from those who work: take, count a try, answer, close, give back.

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
  local ids = call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, MOST)
  for _, id in ipairs(ids) do
    local row = load(id)
    if row then
      settle(row, {})
    else
      strike_everywhere(id)
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
      strike_everywhere(id)
    elseif key ~= CLOSER and needs_no_judge(row) then
      settle(row, {}) -- there were more than MOST to file
    else
      leases[#leases + 1] = take(row, seconds, begin)
    end
  end
  return leases
end

function changes.lease(lane, limit, seconds, begin)
  counts_of(lane)
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
    values.ready_at = math.min(values.ready_at, row.expires_at)
  end
  settle(row, values)
  stirred = true
  return {'ok'}
end

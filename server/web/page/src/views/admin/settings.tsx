// The settings in force, and where each comes from. They are changed where the server is started.

import { getSettings, type Setting } from '../../api/admin'
import { Empty, Failure, Loading } from '../../parts/states'
import { type Column, Table } from '../../parts/table'
import { query, setQuery } from '../../router'
import { useLive } from '../../state/live'
import { t } from '../../text'
import { Badge, Choose, Find } from './parts'

export function SettingsRoom() {
  const settings = useLive(async () => (await getSettings()).settings, 0)
  const words = (query.value.get('q') ?? '').toLowerCase()
  const which = query.value.get('show') === 'changed' ? 'changed' : 'all'
  if (!settings.value) {
    return settings.error ? <Failure error={settings.error} again={() => void settings.refresh()} /> : <Loading />
  }
  const shown = settings.value.filter(
    ({ name, description, is_default, source }) =>
      (which === 'all' || !is_default || source !== 'default') &&
      (words === '' || name.includes(words.replaceAll(' ', '_')) || description.toLowerCase().includes(words)),
  )
  return (
    <>
      <p class="room-hint">{t('admin.settings_hint')}</p>
      <search class="tools">
        <Find
          id="settings-search"
          label={t('admin.settings_search')}
          value={query.value.get('q') ?? ''}
          find={(value) => setQuery({ q: value })}
        />
        <Choose
          id="settings-which"
          label={t('admin.settings')}
          value={which}
          choices={[
            ['all', t('admin.settings_all')],
            ['changed', t('admin.settings_changed')],
          ]}
          choose={(value) => setQuery({ show: value === 'all' ? null : value })}
        />
      </search>
      {shown.length === 0 ? (
        <Empty icon="search" heading={t('admin.settings_none')} />
      ) : (
        <div class="pane card">
          <Table
            id="settings"
            label={t('admin.settings')}
            columns={columns()}
            rows={shown}
            keyOf={({ name }) => name}
            dataOf={({ source }) => source}
          />
        </div>
      )}
    </>
  )
}

const columns = (): Column<Setting>[] => [
  {
    id: 'setting',
    label: t('admin.setting'),
    isHead: true,
    isWide: true,
    cell: ({ name, description }) => (
      <>
        <code>{name}</code>
        <p class="quiet">{description.replaceAll('`', '')}</p>
      </>
    ),
  },
  {
    id: 'value',
    label: t('admin.value'),
    cell: ({ value, default: usual, is_default, is_secret }) => (
      <>
        {is_secret && value === '***' ? (
          <span class="quiet">{t('admin.hidden')}</span>
        ) : value === '' ? (
          <span class="quiet">{t('admin.empty_value')}</span>
        ) : (
          <code>{value}</code>
        )}
        {!is_default && (
          <p class="quiet">{t('admin.default_value', { value: usual === '' ? t('admin.empty_value') : usual })}</p>
        )}
      </>
    ),
  },
  {
    id: 'source',
    label: t('admin.source'),
    cell: ({ source, variable }) => (
      <>
        <Badge tone={source === 'default' ? 'rest' : 'work'}>{t(`admin.source_${source}`)}</Badge>
        <p class="quiet is-variable">
          <code>{variable}</code>
        </p>
      </>
    ),
  },
]
